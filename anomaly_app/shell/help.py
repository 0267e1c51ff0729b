"""What HELP prints."""

HELP = """\
Statements end with a semicolon and may take several lines. Tab completes, Ctrl-C ends what runs, Ctrl-D leaves.

SELECT …                       shows rows as they come from the topics, until Ctrl-C or q; nothing is kept
INSERT INTO … SELECT …         starts a job in the background
SHOW JOBS                      and STOP JOB 'id', DESCRIBE JOB 'id'
CREATE, ALTER, DROP TABLE …    and VIEW, FUNCTION, DATABASE, CATALOG; USE
SHOW TABLES, DESCRIBE …        and SHOW CREATE TABLE, SHOW COLUMNS, SHOW FUNCTIONS, SHOW VIEWS, …
EXPLAIN …                      says what a query does
SET 'key' = 'value'            and RESET 'key'; SET alone lists them
SOURCE 'file'                  carries out the statements of a file
CLEAR, HELP, QUIT

SET 'sql-client.execution.result-mode' = 'table'      a page that changes in place
                                         'changelog'  a page of all changes, as they come
                                         'tableau'    plain lines
SET 'execution.runtime-mode' = 'batch'                 read to where the topics end now, and show what is left
SET 'table.display.max-column-width' = '60'            room for texts
SET 'anomaly.jobs.detach' = 'true'                     jobs outlive the shell
docs/shell.md has the rest.
"""
