-- Units that were sold since the last count, and are still there at the next. docs/tutorial-retail.md tells how to change it.

SET 'retail.shrinkage.units' = '5';  -- so many more sold than counted

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
CREATE TABLE inventory_counts (
    storeId STRING,
    managerId STRING,
    sku STRING,
    countedQty INT,
    eventTime BIGINT,
    ts AS TO_TIMESTAMP_LTZ(eventTime, 3),
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'inventory-counts',
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

CREATE VIEW movements AS
SELECT
    storeId, sku, 1 AS sale, FALSE AS counted, CAST(NULL AS STRING) AS managerId, 0 AS countedQty, ts
FROM pos_events
WHERE UPPER(eventType) = 'SALE'
UNION ALL
SELECT
    storeId, sku, 0 AS sale, TRUE AS counted, managerId, COALESCE(countedQty, 0) AS countedQty, ts
FROM inventory_counts;

-- All sales of the store's article so far, less those at the count before.
CREATE VIEW counts AS
SELECT
    storeId, sku, managerId, countedQty, ts,
    sold - LAG(sold, 1, CAST(0 AS INT)) OVER (PARTITION BY storeId, sku ORDER BY ts) AS sales
FROM (
    SELECT
        *,
        SUM(sale) OVER (
            PARTITION BY storeId, sku ORDER BY ts
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS sold
    FROM movements
)
WHERE counted;

SET 'anomaly.alerts' = 'all';
-- The message names the article: each is told.
SET 'anomaly.alerts.key' = 'storeId, message';
INSERT INTO anomaly_alerts
SELECT
    MD5(CONCAT_WS('|', 'SHRINKAGE', storeId, message, CAST(ts AS STRING))) AS alertId,
    storeId, managerId AS employId, 'SHRINKAGE' AS type, message, riskScore,
    DATE_FORMAT(ts, 'yyyy-MM-dd''T''HH:mm:ss.SSS''Z''') AS alertTime
FROM (
    SELECT
        storeId, managerId, ts,
        LEAST(CAST(1 AS DOUBLE), CAST(sales - countedQty AS DOUBLE) / ${retail.shrinkage.units}) AS riskScore,
        CONCAT(
            'shrinkage sku=', COALESCE(sku, 'null'), ' sales=', CAST(sales AS STRING),
            ' inventoryCounted=', CAST(countedQty AS STRING), ' diff=', CAST(sales - countedQty AS STRING)
        ) AS message
    FROM counts
    WHERE sales - countedQty >= ${retail.shrinkage.units}
);
