"""Between Kafka and the plain core: the batch lane, flush and acknowledge, recovery, repartition.

The only code that touches private names of Faust and aiokafka (both are pinned, and guarded by contract tests).
"""
