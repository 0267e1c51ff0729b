CREATE TABLE `examples`.`marketplace`.`orders` (
    order_id STRING,
    customer_id INT,
    product_id INT,
    price DOUBLE,
    order_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
    WATERMARK FOR order_time AS order_time - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'orders',
    'format' = 'json',
    'scan.startup.mode' = 'latest-offset'
);

CREATE TABLE unusual_orders (
    customer_id INT,
    ts TIMESTAMP_LTZ(3),
    price DOUBLE,
    is_anomaly BOOLEAN
) WITH (
    'connector' = 'kafka',
    'topic' = 'unusual.orders',
    'format' = 'json'
);

-- The models of customers who have bought nothing for a month are dropped.
SET 'table.exec.state.ttl' = '30 d';

INSERT INTO unusual_orders
SELECT
  customer_id,
  ts,
  price,
  anomaly_results[6] AS is_anomaly
FROM (
  SELECT
    customer_id,
    $rowtime as ts,
    price,
    ML_DETECT_ANOMALIES(price, $rowtime, JSON_OBJECT('horizon' VALUE 1, 'minTrainingSize' VALUE 16, 'confidencePercentage' VALUE 90.0))
      OVER (PARTITION BY customer_id
            ORDER BY $rowtime
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS anomaly_results
  FROM `examples`.`marketplace`.`orders`)
WHERE anomaly_results[6] IS NOT NULL;
