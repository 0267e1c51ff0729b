-- Refund fraud: refunds without a sale, and bursts of refunds by one cashier. docs/tutorial-retail.md tells how to change it.

SET 'retail.refund.amount' = '100';                     -- from which a refund counts for a burst
SET 'retail.refund.count' = '3';                        -- that many make a burst
SET 'retail.refund.window' = 'INTERVAL ''10'' MINUTE';  -- within this time
SET 'retail.sale.kept' = 'INTERVAL ''24'' HOUR';        -- after which a refund is one without a sale
SET 'retail.refund.same_cashier' = 'FALSE';             -- TRUE: only a sale of the same cashier counts
SET 'retail.shift.any_store' = 'FALSE';                 -- TRUE: a shift in another store counts too
SET 'retail.shift.last_only' = 'FALSE';                 -- TRUE: only the shift that began last counts
SET 'retail.shift.kept' = 'INTERVAL ''7'' DAY';         -- a cashier without a shift in this time has none

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
CREATE TABLE staff_shifts (
    employeeId STRING,
    storeId STRING,
    shiftStart BIGINT,
    shiftEnd BIGINT,
    `role` STRING,
    ts AS TO_TIMESTAMP_LTZ(shiftStart, 3),
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'staff-shifts',
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

-- A refund that finds no sale of its number, in its store and in the time before it.
CREATE VIEW unmatched_refunds AS
SELECT r.storeId, r.cashierId, r.transactionId, r.ts
FROM (
    SELECT *, CASE WHEN ${retail.refund.same_cashier} THEN cashierId ELSE '' END AS cashier
    FROM pos_events
    WHERE UPPER(eventType) = 'REFUND'
) AS r
LEFT JOIN (
    SELECT *, CASE WHEN ${retail.refund.same_cashier} THEN cashierId ELSE '' END AS cashier
    FROM pos_events
    WHERE UPPER(eventType) = 'SALE'
) AS s
    ON r.storeId = s.storeId
    AND r.transactionId = s.transactionId
    AND r.cashier = s.cashier
    AND s.ts BETWEEN r.ts - ${retail.sale.kept} AND r.ts
WHERE s.ts IS NULL;

-- Of each cashier the end of the shift that ends last, or of the one that began last, in the course of time: as digits,
-- behind the begin of the shift that counts where that is to decide.
CREATE VIEW shifts AS
SELECT employee, store, shift, ts
FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY employee, store ORDER BY ts DESC) AS number
    FROM (
        SELECT
            employee, store, ts,
            MAX(CONCAT(
                CASE WHEN ${retail.shift.last_only} THEN LPAD(CAST(shiftStart AS STRING), 19, '0') ELSE '' END,
                LPAD(CAST(shiftEnd AS STRING), 19, '0')
            )) OVER (
                PARTITION BY employee, store ORDER BY ts
                RANGE BETWEEN ${retail.shift.kept} PRECEDING AND CURRENT ROW
            ) AS shift
        FROM (
            SELECT
                employeeId AS employee, CASE WHEN ${retail.shift.any_store} THEN '' ELSE storeId END AS store,
                shiftStart, shiftEnd, ts
            FROM staff_shifts
        )
    )
)
WHERE number = 1;

-- Refunds with the shifts of their cashier that have begun by then. One that is told late is known from then on.
CREATE VIEW refunds AS
SELECT
    r.employee, r.storeId, r.transactionId, r.amount, r.ts,
    CASE WHEN r.amount >= ${retail.refund.amount} THEN 1 ELSE 0 END AS high,
    s.ts >= r.ts - ${retail.shift.kept} AND CAST(RIGHT(s.shift, 19) AS BIGINT) < r.eventTime AS outside
FROM (
    SELECT
        cashierId AS employee, CASE WHEN ${retail.shift.any_store} THEN '' ELSE storeId END AS store, storeId,
        transactionId, COALESCE(amount, 0) AS amount, eventTime, ts
    FROM pos_events
    WHERE UPPER(eventType) = 'REFUND' AND ABS(COALESCE(amount, 0)) < 1E15  -- neither NaN nor infinite
) AS r
LEFT JOIN shifts FOR SYSTEM_TIME AS OF r.ts AS s
    ON r.employee = s.employee AND r.store = s.store;

-- What the refunds of the window add up to, in their own order: RANGE takes in all of one millisecond, so those that
-- come behind, which a sum by ROWS does not have, are taken off.
CREATE VIEW refunds_by_cashier AS
SELECT
    employee, storeId, transactionId, ts, high, outside,
    recentHighs - (allHighs - SUM(high) OVER soFar) AS highs,
    recentAmounts - (allAmounts - SUM(amount) OVER soFar) AS amounts,
    recentRefunds - (allRefunds - COUNT(*) OVER soFar) AS refunds
FROM (
    SELECT
        *, SUM(high) OVER recent AS recentHighs, SUM(amount) OVER recent AS recentAmounts,
        COUNT(*) OVER recent AS recentRefunds
    FROM (
        SELECT
            *, SUM(high) OVER everything AS allHighs, SUM(amount) OVER everything AS allAmounts,
            COUNT(*) OVER everything AS allRefunds
        FROM refunds
        WINDOW everything AS (
            PARTITION BY employee, storeId ORDER BY ts
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )
    )
    WINDOW recent AS (
        PARTITION BY employee, storeId ORDER BY ts
        RANGE BETWEEN ${retail.refund.window} PRECEDING AND CURRENT ROW
    )
)
WINDOW soFar AS (
    PARTITION BY employee, storeId ORDER BY ts
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
);

-- A burst is told by the refund that makes it one, and again only when it has been over.
CREATE VIEW refund_bursts AS
SELECT
    storeId, employee, transactionId, ts, highs,
    LEAST(
        1,
        LEAST(1, 0.7E0 * (highs / CAST(${retail.refund.count} AS DOUBLE))
            + 0.3E0 * LEAST(1, amounts / refunds / (2E0 * ${retail.refund.amount})))
        + CASE WHEN outside THEN 0.2E0 ELSE 0E0 END
    ) AS riskScore
FROM refunds_by_cashier
WHERE high = 1 AND highs >= ${retail.refund.count} AND highs - 1 < ${retail.refund.count};

SET 'anomaly.alerts' = 'all';
SET 'anomaly.alerts.key' = 'storeId, employId';
INSERT INTO anomaly_alerts
SELECT
    MD5(CONCAT_WS('|', 'REFUND_PATTERN', storeId, employId, message, CAST(ts AS STRING))) AS alertId,
    storeId, employId, 'REFUND_PATTERN' AS type, message, CAST(1 AS DOUBLE) AS riskScore,
    DATE_FORMAT(ts, 'yyyy-MM-dd''T''HH:mm:ss.SSS''Z''') AS alertTime
FROM (
    SELECT
        storeId, cashierId AS employId, ts,
        CONCAT('refund_without_sale: transaction ', COALESCE(transactionId, 'null')) AS message
    FROM unmatched_refunds
);

INSERT INTO anomaly_alerts
SELECT
    MD5(CONCAT_WS('|', 'REFUND_PATTERN', storeId, employId, message, transactionId, CAST(ts AS STRING))) AS alertId,
    storeId, employId, 'REFUND_PATTERN' AS type, message, riskScore,
    DATE_FORMAT(ts, 'yyyy-MM-dd''T''HH:mm:ss.SSS''Z''') AS alertTime
FROM (
    SELECT
        storeId, employee AS employId, transactionId, ts, riskScore,
        CONCAT(
            'refund_burst: ', CAST(highs AS STRING),
            ' refunds >= ', CAST(CAST(${retail.refund.amount} AS DECIMAL(20, 2)) AS STRING),
            ' in ', CAST(TIMESTAMPDIFF(SECOND, ts, ts + ${retail.refund.window}) * 1000 AS STRING), ' ms'
        ) AS message
    FROM refund_bursts
);
