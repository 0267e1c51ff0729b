import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableException;
import org.apache.flink.table.api.bridge.java.StreamStatementSet;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.api.internal.TableEnvironmentInternal;
import org.apache.flink.table.operations.ModifyOperation;
import org.apache.flink.table.operations.Operation;
import org.apache.flink.table.operations.command.SetOperation;

/**
 * Runs statements on a mini cluster in this JVM: FILE RUNS; statements are separated by NUL characters.
 *
 * <p>Prints RUNNING when a run has been deployed and FINISHED with its milliseconds since then. The first error ends it:
 * its causes, one a line, and exit status 1.
 */
public final class RunStatements {
    public static void main(String[] arguments) throws Exception {
        String[] statements = Files.readString(Path.of(arguments[0])).split("\0");
        try {
            for (int run = Integer.parseInt(arguments[1]); run > 0; run--) {
                run(statements);
            }
        } catch (Throwable error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                System.out.println("ERROR " + String.valueOf(cause.getMessage()).replace("\n", " "));
            }
            System.exit(1);
        }
        // Threads of the cluster may live on.
        System.exit(0);
    }

    private static void run(String[] statements) throws Exception {
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.createLocalEnvironment(1, new Configuration());
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        StreamStatementSet inserts = tables.createStatementSet();
        for (String statement : statements) {
            Operation operation = ((TableEnvironmentInternal) tables).getParser().parse(statement).get(0);
            if (operation instanceof SetOperation) {
                SetOperation setting = (SetOperation) operation;
                tables.getConfig().set(setting.getKey().orElseThrow(), setting.getValue().orElseThrow());
            } else if (operation instanceof ModifyOperation) {
                inserts.addInsertSql(statement);
            } else {
                tables.executeSql(statement);
            }
        }
        JobClient job = inserts.execute().getJobClient().orElseThrow(() -> new TableException("there is no INSERT"));
        for (JobStatus status = job.getJobStatus().get();
                status != JobStatus.RUNNING && !status.isTerminalState();
                status = job.getJobStatus().get()) {
            Thread.sleep(5);
        }
        long begin = System.nanoTime();
        System.out.println("RUNNING");
        job.getJobExecutionResult().get();
        System.out.println("FINISHED " + (System.nanoTime() - begin) / 1_000_000);
    }
}
