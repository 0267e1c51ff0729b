-- Does a job give more alerts than it usually does? Their number in five minutes, learned for each job.
--
-- Five minutes without alerts give no row: what is learned is how many come when some do.
SET 'alerts.topic' = 'anomaly.alerts';                  -- where this worker writes its alerts
SET 'alerts.rate.window' = 'INTERVAL ''5'' MINUTE';

CREATE TABLE anomaly_alerts (
    job STRING,
    `type` STRING,
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

CREATE TABLE alert_rates (
    alert_job STRING,
    window_start TIMESTAMP(3),
    window_end TIMESTAMP(3),
    alerts BIGINT,
    expected DOUBLE,
    upper_bound DOUBLE
) WITH (
    'connector' = 'kafka',
    'topic' = 'unusual.alert.rates',
    'format' = 'json'
);

-- The models of jobs that have given no alert for a month are dropped.
SET 'table.exec.state.ttl' = '30 d';

-- Alerts about alerts are left out: those of this job, of alert_alarm, and of any other job that reads the alerts.
INSERT INTO alert_rates
SELECT alert_job, window_start, window_end, alerts, rate.forecast_value, rate.upper_bound
FROM (
    SELECT
        alert_job, window_start, window_end, alerts,
        ML_DETECT_ANOMALIES(CAST(alerts AS DOUBLE), window_time,
            JSON_OBJECT('minTrainingSize' VALUE 16, 'confidencePercentage' VALUE 99.0))
            OVER (PARTITION BY alert_job ORDER BY window_time) AS rate
    FROM (
        SELECT job AS alert_job, window_start, window_end, window_time, COUNT(*) AS alerts
        FROM TABLE(TUMBLE(TABLE anomaly_alerts, DESCRIPTOR(detected_at), ${alerts.rate.window}))
        WHERE job NOT IN ('alert_alarm', 'alert_rate')
            AND COALESCE(source.topic, '') <> ${alerts.topic}
            AND COALESCE(`type`, '') NOT IN ('silence', 'silence_over')
        GROUP BY job, window_start, window_end, window_time
    )
)
WHERE rate.is_anomaly AND alerts > rate.upper_bound;
