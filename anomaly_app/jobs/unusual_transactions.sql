-- Five-minute windows of each user: is the largest transaction far above the user's others?
--
-- Windows are over event time here, so that the same transactions give the same alerts whenever they are read. For
-- windows over processing time, as the tutorial has them, declare a column AS PROCTIME() in place of the WATERMARK.
CREATE TABLE transactions (
    userId STRING,
    amount DOUBLE,
    `timestamp` BIGINT,
    transactionId STRING,
    merchantId STRING,
    ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'transactions',
    'format' = 'json',
    'scan.startup.mode' = 'latest-offset'
);

CREATE TABLE unusual_transactions (
    userId STRING,
    window_start TIMESTAMP(3),
    window_end TIMESTAMP(3),
    max_amount DOUBLE,
    avg_amount DOUBLE,
    stddev_amount DOUBLE,
    threshold DOUBLE,
    row_count BIGINT,
    severity STRING,
    alert STRING
) WITH (
    'connector' = 'kafka',
    'topic' = 'unusual.transactions',
    'format' = 'json'
);

-- The rule cannot fire on fewer than nine rows: the largest of n values is at most (n - 1) / SQRT(n) sample deviations
-- above their mean. AVG_WITHOUT_MAX and STDDEV_WITHOUT_MAX, or MEDIAN and MAD, do not have that blind spot.
INSERT INTO unusual_transactions
SELECT
    userId, window_start, window_end, max_amount, avg_amount, stddev_amount, threshold, row_count,
    CASE
        WHEN max_amount >= 3 * threshold THEN 'critical'
        WHEN max_amount >= 2 * threshold THEN 'high'
        WHEN max_amount >= 1.25 * threshold THEN 'medium'
        ELSE 'low'
    END AS severity,
    PRINTF('ANOMALY DETECTED: User %s has transaction of %.2f (avg: %.2f, stddev: %.2f, threshold: %.2f, count: %d)',
        userId, max_amount, avg_amount, stddev_amount, threshold, row_count) AS alert
FROM (
    SELECT
        userId, window_start, window_end,
        MAX(amount) AS max_amount,
        AVG(amount) AS avg_amount,
        COALESCE(STDDEV_SAMP(amount), 0E0) AS stddev_amount,
        AVG(amount) + 2.5 * COALESCE(STDDEV_SAMP(amount), 0E0) AS threshold,
        COUNT(*) AS row_count
    FROM TABLE(TUMBLE(TABLE transactions, DESCRIPTOR(ts), INTERVAL '5' MINUTES))
    GROUP BY userId, window_start, window_end
    HAVING MAX(amount) > MIN(amount)  -- the mean of equal amounts may be rounded to just below them
)
WHERE max_amount > threshold AND row_count >= 3;
