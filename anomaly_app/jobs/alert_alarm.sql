-- An alarm when more than one alert comes in five minutes. Five minutes without alerts give no row, and no alarm.
--
-- Time is that of the worker that found them. While none come, the clock ends the five minutes.
CREATE TABLE anomaly_alerts (
    job STRING,
    `type` STRING,
    severity STRING,
    detected_at TIMESTAMP_LTZ(3),
    source ROW<topic STRING>,
    WATERMARK FOR detected_at AS detected_at - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'anomaly.alerts',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'scan.startup.mode' = 'latest-offset',
    'scan.watermark.idle-timeout' = '5 s',
    'scan.watermark.idle-clock' = 'true'
);

CREATE TABLE alert_alarms (
    window_start TIMESTAMP(3),
    window_end TIMESTAMP(3),
    alerts BIGINT,
    jobs STRING,
    severity STRING,
    alarm STRING
) WITH (
    'connector' = 'kafka',
    'topic' = 'alert.alarms',
    'format' = 'json'
);

-- Alerts about alerts are left out: those of this job and of alert_rate, and those of any other job that reads the alerts.
INSERT INTO alert_alarms
SELECT
    window_start, window_end, alerts, jobs,
    CASE worst WHEN 4 THEN 'critical' WHEN 3 THEN 'high' WHEN 2 THEN 'medium' ELSE 'low' END AS severity,
    PRINTF('ALARM: %d alerts within five minutes, of %s', alerts, jobs) AS alarm
FROM (
    SELECT
        window_start, window_end,
        COUNT(*) AS alerts,
        LISTAGG(DISTINCT job, ', ') AS jobs,
        MAX(CASE severity WHEN 'critical' THEN 4 WHEN 'high' THEN 3 WHEN 'medium' THEN 2 ELSE 1 END) AS worst
    FROM TABLE(TUMBLE(TABLE anomaly_alerts, DESCRIPTOR(detected_at), INTERVAL '5' MINUTES))
    WHERE job NOT IN ('alert_alarm', 'alert_rate')
        AND COALESCE(source.topic, '') <> 'anomaly.alerts'
        AND COALESCE(`type`, '') NOT IN ('silence', 'silence_over')
    GROUP BY window_start, window_end
    HAVING COUNT(*) > 1
);
