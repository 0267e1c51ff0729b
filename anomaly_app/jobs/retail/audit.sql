-- The refund alerts once more, for those who audit refunds.

CREATE TABLE anomaly_alerts (
    alertId STRING,
    storeId STRING,
    employId STRING,
    type STRING,
    message STRING,
    riskScore DOUBLE,
    alertTime STRING
) WITH (
    'connector' = 'kafka',
    'topic' = 'anomaly-alerts',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json'
);
CREATE TABLE refund_audit (
    alertId STRING,
    storeId STRING,
    employId STRING,
    type STRING,
    message STRING,
    riskScore DOUBLE,
    alertTime STRING
) WITH (
    'connector' = 'kafka',
    'topic' = 'refund-audit',
    'format' = 'json'
);
INSERT INTO refund_audit SELECT * FROM anomaly_alerts WHERE type = 'REFUND_PATTERN';
