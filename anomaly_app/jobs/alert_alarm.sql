-- An alarm when more than one alert comes in five minutes. Five minutes without alerts give no row, and no alarm.
--
-- Time is that of the worker that found them. While none come, the clock ends the five minutes.
SET 'alerts.topic' = 'anomaly.alerts';                  -- where this worker writes its alerts
SET 'alerts.alarm.window' = 'INTERVAL ''5'' MINUTE';
SET 'alerts.alarm.most' = '1';                          -- so many are no alarm

CREATE TABLE anomaly_alerts (
    job STRING,
    `type` STRING,
    severity STRING,
    detected_at TIMESTAMP_LTZ(3),
    source ROW<topic STRING>,
    WATERMARK FOR detected_at AS detected_at - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = ${alerts.topic},
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

-- Alerts about alerts are left out: those of this job, of alert_rate, and of any other job that reads the alerts.
INSERT INTO alert_alarms
SELECT
    window_start, window_end, alerts, jobs,
    CASE worst WHEN 4 THEN 'critical' WHEN 3 THEN 'high' WHEN 2 THEN 'medium' ELSE 'low' END AS severity,
    PRINTF('ALARM: %d alerts from %s to %s UTC, of %s', alerts, DATE_FORMAT(window_start, 'HH:mm:ss'),
        DATE_FORMAT(window_end, 'HH:mm:ss'), jobs) AS alarm
FROM (
    SELECT
        window_start, window_end,
        COUNT(*) AS alerts,
        LISTAGG(DISTINCT job, ', ') AS jobs,
        MAX(CASE severity WHEN 'critical' THEN 4 WHEN 'high' THEN 3 WHEN 'medium' THEN 2 ELSE 1 END) AS worst
    FROM TABLE(TUMBLE(TABLE anomaly_alerts, DESCRIPTOR(detected_at), ${alerts.alarm.window}))
    WHERE job NOT IN ('alert_alarm', 'alert_rate')
        AND COALESCE(source.topic, '') <> ${alerts.topic}
        AND COALESCE(`type`, '') NOT IN ('silence', 'silence_over')
    GROUP BY window_start, window_end
    HAVING COUNT(*) > ${alerts.alarm.most}
);
