-- Fraud in card payments: payments and their devices joined, scored by a model, and the likely frauds told with what is
-- unusual about them for their card. docs/tutorial-payments.md is the way from nothing to the alerts.

SET 'payments.model.file' = 'fraud.onnx';  -- made by anomaly train
SET 'payments.model' = 'fraud$1';          -- model and version
SET 'payments.threshold' = '0.5';          -- from which score a payment is told

CREATE TABLE transactions (
    TransactionID INT NOT NULL,
    TransactionDT FLOAT, TransactionAmt FLOAT, ProductCD STRING NOT NULL, card1 INT, card2 FLOAT, card3 FLOAT,
    card4 STRING NOT NULL, card5 FLOAT, card6 STRING NOT NULL, addr1 FLOAT, addr2 FLOAT, dist1 FLOAT, dist2
    FLOAT, P_emaildomain STRING NOT NULL, R_emaildomain STRING NOT NULL, C1 FLOAT, C2 FLOAT, C3 FLOAT, C4 FLOAT,
    C5 FLOAT, C6 FLOAT, C7 FLOAT, C8 FLOAT, C9 FLOAT, C10 FLOAT, C11 FLOAT, C12 FLOAT, C13 FLOAT, C14 FLOAT, D1
    FLOAT, D2 FLOAT, D3 FLOAT, D4 FLOAT, D5 FLOAT, D10 FLOAT, D11 FLOAT, D15 FLOAT, M1 STRING NOT NULL, M2
    STRING NOT NULL, M3 STRING NOT NULL, M4 STRING NOT NULL, M5 STRING NOT NULL, M6 STRING NOT NULL, M7
    STRING NOT NULL, M8 STRING NOT NULL, M9 STRING NOT NULL, V1 FLOAT, V2 FLOAT, V3 FLOAT, V4 FLOAT, V5 FLOAT,
    V6 FLOAT, V7 FLOAT, V8 FLOAT, V9 FLOAT, V10 FLOAT, V11 FLOAT, V12 FLOAT, V13 FLOAT, V14 FLOAT, V15 FLOAT,
    V16 FLOAT, V17 FLOAT, V18 FLOAT, V19 FLOAT, V20 FLOAT, V21 FLOAT, V22 FLOAT, V23 FLOAT, V24 FLOAT, V25
    FLOAT, V26 FLOAT, V27 FLOAT, V28 FLOAT, V29 FLOAT, V30 FLOAT, `Timestamp` TIMESTAMP(3),
    WATERMARK FOR `Timestamp` AS `Timestamp` - INTERVAL '20' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'transactions',
    'scan.startup.mode' = 'earliest-offset',
    'key.format' = 'avro-confluent',
    'key.fields' = 'TransactionID',
    'key.avro-confluent.url' = 'http://localhost:8080/apis/ccompat/v6',
    'value.format' = 'avro-confluent',
    'value.fields-include' = 'EXCEPT_KEY',
    'value.avro-confluent.url' = 'http://localhost:8080/apis/ccompat/v6'
);

CREATE TABLE identities (
    TransactionID INT NOT NULL,
    TransactionDT FLOAT, id_01 FLOAT, id_02 FLOAT, id_03 FLOAT, id_04 FLOAT, id_05 FLOAT, id_06 FLOAT, id_07
    FLOAT, id_08 FLOAT, id_09 FLOAT, id_10 FLOAT, id_11 FLOAT, id_12 STRING NOT NULL, id_13 FLOAT, id_14 FLOAT,
    id_15 STRING NOT NULL, id_16 STRING NOT NULL, id_17 FLOAT, id_18 FLOAT, id_19 FLOAT, id_20 FLOAT, id_21
    FLOAT, id_22 FLOAT, id_23 STRING NOT NULL, id_24 FLOAT, id_25 FLOAT, id_26 FLOAT, id_27 STRING NOT NULL,
    id_28 STRING NOT NULL, id_29 STRING NOT NULL, id_30 STRING NOT NULL, id_31 STRING NOT NULL, id_32 FLOAT,
    id_33 STRING NOT NULL, id_34 STRING NOT NULL, id_35 STRING NOT NULL, id_36 STRING NOT NULL, id_37
    STRING NOT NULL, id_38 STRING NOT NULL, DeviceType STRING NOT NULL, DeviceInfo STRING NOT NULL, `Timestamp`
    TIMESTAMP(3),
    WATERMARK FOR `Timestamp` AS `Timestamp` - INTERVAL '20' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'identities',
    'scan.startup.mode' = 'earliest-offset',
    'key.format' = 'avro-confluent',
    'key.fields' = 'TransactionID',
    'key.avro-confluent.url' = 'http://localhost:8080/apis/ccompat/v6',
    'value.format' = 'avro-confluent',
    'value.fields-include' = 'EXCEPT_KEY',
    'value.avro-confluent.url' = 'http://localhost:8080/apis/ccompat/v6'
);

CREATE TABLE scored_payments (
    TransactionID INT NOT NULL,
    card1 INT,
    amount FLOAT,
    score DOUBLE,
    threshold DOUBLE,
    is_fraud BOOLEAN,
    model STRING,
    unusual STRING,
    ts TIMESTAMP(3)
) WITH (
    'connector' = 'kafka',
    'topic' = 'scored-payments',
    'format' = 'json'
);

-- A payment without a device comes once, with NULLs, when no device can come any more.
CREATE VIEW joined_records AS
SELECT t.*,
    i.id_01, i.id_02, i.id_03, i.id_04, i.id_05, i.id_06, i.id_07, i.id_08, i.id_09, i.id_10, i.id_11, i.id_12,
    i.id_13, i.id_14, i.id_15, i.id_16, i.id_17, i.id_18, i.id_19, i.id_20, i.id_21, i.id_22, i.id_23, i.id_24,
    i.id_25, i.id_26, i.id_27, i.id_28, i.id_29, i.id_30, i.id_31, i.id_32, i.id_33, i.id_34, i.id_35, i.id_36,
    i.id_37, i.id_38, i.DeviceType, i.DeviceInfo
FROM transactions AS t
LEFT JOIN identities AS i
    ON t.TransactionID = i.TransactionID
    AND i.`Timestamp` BETWEEN t.`Timestamp` - INTERVAL '60' SECOND AND t.`Timestamp` + INTERVAL '60' SECOND;

CREATE VIEW transformed_records AS
SELECT event.*,
    EXTRACT(DOY FROM event.eventTime) AS dayOfYear,
    EXTRACT(DOW FROM event.eventTime) AS dayOfWeek,
    EXTRACT(MONTH FROM event.eventTime) AS `month`
FROM (
    SELECT *, TIMESTAMPADD(SECOND, CAST(TransactionDT AS INT), TIMESTAMP '2017-11-30 00:00:00') AS eventTime
    FROM joined_records
) AS event;

CREATE MODEL fraud
INPUT (
    TransactionAmt FLOAT, card1 FLOAT, card2 FLOAT, card3 FLOAT, card5 FLOAT, addr1 FLOAT, addr2 FLOAT,
    C1 FLOAT, C2 FLOAT, C3 FLOAT, C4 FLOAT, C5 FLOAT, C6 FLOAT, C7 FLOAT, C8 FLOAT, C9 FLOAT, C10 FLOAT,
    C11 FLOAT, C12 FLOAT, C13 FLOAT, C14 FLOAT, D1 FLOAT, D4 FLOAT, D10 FLOAT, D15 FLOAT, V12 FLOAT, V13 FLOAT,
    V14 FLOAT, V15 FLOAT, V16 FLOAT, V17 FLOAT, V18 FLOAT, V19 FLOAT, V20 FLOAT, V21 FLOAT, V22 FLOAT,
    V23 FLOAT, V24 FLOAT, V25 FLOAT, V26 FLOAT, V27 FLOAT, V28 FLOAT, V29 FLOAT, V30 FLOAT, DT_D FLOAT,
    DT_W FLOAT, DT_M FLOAT, id_01 FLOAT, id_02 FLOAT, id_05 FLOAT, id_06 FLOAT, id_11 FLOAT, id_13 FLOAT,
    id_17 FLOAT, id_19 FLOAT, id_20 FLOAT, ProductCD STRING, card4 STRING, card6 STRING, P_emaildomain STRING,
    M6 STRING, id_12 STRING, id_15 STRING, id_16 STRING, id_28 STRING, id_29 STRING, id_31 STRING, id_35 STRING,
    id_36 STRING, id_37 STRING, id_38 STRING, DeviceType STRING, DeviceInfo STRING
)
OUTPUT (score DOUBLE, is_anomaly INT)
WITH (
    'provider' = 'onnx',
    'task' = 'classification',
    'onnx.path' = ${payments.model.file}
);

CREATE VIEW predicted AS
SELECT TransactionID, card1, TransactionAmt, P_emaildomain, DeviceInfo, C1, dist1, score, `Timestamp` AS ts
FROM transformed_records, LATERAL TABLE(
    ML_PREDICT(${payments.model},
        TransactionAmt, card1, card2, card3, card5, addr1, addr2, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11,
        C12, C13, C14, D1, D4, D10, D15, V12, V13, V14, V15, V16, V17, V18, V19, V20, V21, V22, V23, V24, V25,
        V26, V27, V28, V29, V30, dayOfYear, dayOfWeek, `month`, id_01, id_02, id_05, id_06, id_11, id_13, id_17,
        id_19, id_20, ProductCD, card4, card6, P_emaildomain, M6, id_12, id_15, id_16, id_28, id_29, id_31,
        id_35, id_36, id_37, id_38, DeviceType, DeviceInfo
    )
);

-- What a card's last hundred payments were like: without the one at hand, which is taken off the sums.
CREATE VIEW usual_payments AS
SELECT
    *,
    COUNT(*) OVER lately AS n,
    SUM(CAST(TransactionAmt AS DOUBLE)) OVER lately AS amounts,
    SUM(CAST(TransactionAmt AS DOUBLE) * TransactionAmt) OVER lately AS amountSquares,
    SUM(CAST(C1 AS DOUBLE)) OVER lately AS counts,
    SUM(CAST(C1 AS DOUBLE) * C1) OVER lately AS countSquares,
    SUM(CAST(dist1 AS DOUBLE)) OVER lately AS distances,
    COUNT(dist1) OVER lately AS distancesKnown,
    LAG(P_emaildomain) OVER cards AS mailBefore,
    LAG(DeviceInfo) OVER cards AS deviceBefore
FROM predicted
WINDOW
    lately AS (PARTITION BY card1 ORDER BY ts ROWS BETWEEN 100 PRECEDING AND CURRENT ROW),
    cards AS (PARTITION BY card1 ORDER BY ts);

-- Every payment goes to the topic, and is an alert where the column says so.
SET 'anomaly.alerts' = 'where is_fraud';
SET 'anomaly.alerts.key' = 'card1';
INSERT INTO scored_payments
SELECT
    TransactionID, card1, TransactionAmt AS amount, score, ${payments.threshold} AS threshold,
    score >= ${payments.threshold} AS is_fraud, ${payments.model} AS model,
    CONCAT_WS('; ',
        CASE
            WHEN n < 4 THEN 'a card of which little is known'
            WHEN ABS(amountUsual - TransactionAmt) > 3 * amountSpread
            THEN CONCAT('amount ', CAST(CAST(TransactionAmt AS DECIMAL(20, 2)) AS STRING),
                ', usually about ', CAST(CAST(amountUsual AS DECIMAL(20, 2)) AS STRING))
        END,
        CASE
            WHEN n >= 4 AND countUsual + 3 * countSpread < C1
            THEN CONCAT(CAST(CAST(C1 AS INT) AS STRING), ' payments lately')
        END,
        CASE
            WHEN dist1 > 500 AND dist1 > 5 * distanceUsual
            THEN CONCAT('far from home: ', CAST(CAST(dist1 AS INT) AS STRING))
        END,
        CASE
            WHEN P_emaildomain <> mailBefore
            THEN CONCAT('mail address at ', P_emaildomain, ', before at ', mailBefore)
        END,
        CASE
            WHEN DeviceInfo <> deviceBefore
            THEN CONCAT('device ', DeviceInfo, ', before ', deviceBefore)
        END
    ) AS unusual,
    ts
FROM (
    SELECT
        *,
        (amounts - TransactionAmt) / (n - 1E0) AS amountUsual,
        SQRT(GREATEST(1E0, (amountSquares - CAST(TransactionAmt AS DOUBLE) * TransactionAmt) / (n - 1E0)
            - POWER((amounts - TransactionAmt) / (n - 1E0), 2))) AS amountSpread,
        (counts - C1) / (n - 1E0) AS countUsual,
        SQRT(GREATEST(1E0, (countSquares - CAST(C1 AS DOUBLE) * C1) / (n - 1E0)
            - POWER((counts - C1) / (n - 1E0), 2))) AS countSpread,
        CASE
            WHEN distancesKnown > CASE WHEN dist1 IS NULL THEN 0 ELSE 1 END
            THEN (distances - COALESCE(dist1, 0)) / (distancesKnown - CASE WHEN dist1 IS NULL THEN 0E0 ELSE 1E0 END)
        END AS distanceUsual
    FROM usual_payments
);
