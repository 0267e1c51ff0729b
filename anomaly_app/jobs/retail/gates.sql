-- High-value sales and the gate alarms of their store. docs/tutorial-retail.md tells how to change it.

SET 'retail.gate.amount' = '200';                    -- from which a sale is of high value
SET 'retail.gate.window' = 'INTERVAL ''2'' MINUTE';  -- in which the gate follows
SET 'retail.gate.any_event' = 'FALSE';               -- TRUE: doors count as gates
SET 'retail.gate.alarm_only' = 'FALSE';              -- TRUE: a gate counts only with its alarm on

CREATE TABLE pos_events (
    transactionId STRING,
    storeId STRING,
    cashierId STRING,
    sku STRING,
    amount DOUBLE,
    eventType STRING,
    eventTime BIGINT,
    ts AS TO_TIMESTAMP_LTZ(eventTime, 3),
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'pos-events',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json'
);
CREATE TABLE security_events (
    eventId STRING,
    storeId STRING,
    eventTime BIGINT,
    eventType STRING,
    eventData ROW<gateId STRING, alarm BOOLEAN>,
    ts AS TO_TIMESTAMP_LTZ(eventTime, 3),
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'security-events',
    'scan.watermark.idle-timeout' = '10 ms',  -- the receipts do not wait for it
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json'
);
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
    'format' = 'json'
);

CREATE VIEW passages AS
SELECT
    storeId, FALSE AS atGate, transactionId, cashierId, CAST(NULL AS STRING) AS gateId, ts
FROM pos_events
WHERE UPPER(eventType) = 'SALE' AND amount >= ${retail.gate.amount} AND amount < 1E15
UNION ALL
SELECT
    storeId, TRUE AS atGate, CAST(NULL AS STRING) AS transactionId, CAST(NULL AS STRING) AS cashierId,
    COALESCE(eventData.gateId, 'null') AS gateId, ts
FROM security_events
WHERE (${retail.gate.any_event} OR UPPER(eventType) = 'GATE')
    AND (NOT ${retail.gate.alarm_only} OR eventData.alarm IS TRUE);

SET 'anomaly.alerts.key' = 'storeId, employId';
INSERT INTO anomaly_alerts
SELECT
    MD5(CONCAT_WS('|', 'SECURITY_CORRELATION', storeId, message, CAST(ts AS STRING))) AS alertId,
    storeId, employId, 'SECURITY_CORRELATION' AS type, message, CAST(0.85 AS DOUBLE) AS riskScore,
    DATE_FORMAT(ts, 'yyyy-MM-dd''T''HH:mm:ss.SSS''Z''') AS alertTime
FROM (
    SELECT
        storeId, employId, ts,
        CONCAT('gate_correlation saleTxn=', COALESCE(saleTxn, 'null'), ' gateId=', gateId) AS message
    FROM passages MATCH_RECOGNIZE (
        PARTITION BY storeId
        ORDER BY ts
        MEASURES
            SALE.cashierId AS employId, SALE.transactionId AS saleTxn, GATE.gateId AS gateId, GATE.ts AS ts
        AFTER MATCH SKIP PAST LAST ROW
        -- The last sale before the gate, with neither another sale nor another gate between them.
        PATTERN (SALE GATE)
        DEFINE
            SALE AS NOT SALE.atGate,
            GATE AS GATE.atGate AND GATE.ts <= SALE.ts + ${retail.gate.window}
    )
);
