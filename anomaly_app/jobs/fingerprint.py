"""What names the state of a query: all that it depends on, and nothing else of the file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from anomaly_app.expressions.tokens import tokenize
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.plan.nodes import Calc, Materialize, Predict, walk
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import Insert

STATE_VERSION = 3
"""Part of every fingerprint: raised when operators store their state in another way."""


def fingerprint(
    statement: QueryTree | Insert, factory: PlannedQuery, sources: Sequence[Source], catalog: Catalog
) -> str:
    """Sixteen hex digits of words, also of the query's views, and of columns and time of what it reads.

    Args:
        statement: of the catalog's text.
        factory: the planned query.
        sources: tables that it reads, one for each scan.
        catalog: what its names mean.
    """
    node, reads, text = factory.node, factory.physical.reads, catalog.text
    spans = dict.fromkeys([statement.span, *(one.span for one in walk(node) if isinstance(one, Calc))])
    texts = [text[slice(*span)] for span in spans]
    words = [f"{token.kind}:{token.value}" for text in texts for token in tokenize(text)]
    tables = [part for source in sources for part in _read_of(source, reads[source.name])]
    said = {token.value.upper() for text in texts for token in tokenize(text)}
    own = [f"{name} {one.origin} {one.returns}" for name, one in catalog.functions.items() if name in said]
    own += [one.title for one in walk(node) if isinstance(one, Materialize)]
    for one in walk(node):
        if isinstance(one, Predict):  # rows that wait are stored with the answers that have come
            own += [one.title, *(f"{c.name} {c.type}" for c in (*one.model.inputs, *one.model.outputs))]
    parts = [str(STATE_VERSION), factory.dialect.value, *tables, *words, *own]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _read_of(source: Source, reads: Sequence[str]) -> Sequence[str]:
    """What the state of a query depends on of a table that it reads."""
    schema = source.schema
    wanted = source.columns({*reads, *(schema.computed.keys() & {schema.rowtime})})
    computed = [column.name for column in wanted if column.name in schema.computed]
    wanted += tuple(column for column in schema.sources(wanted) if column not in wanted)
    columns = [f"{column.name} {column.type} {column.origin.value}" for column in wanted]
    columns += [f"{name} AS {schema.computed[name].words}" for name in computed]
    return [source.topic, str(schema.rowtime), str(schema.watermark_delay_ms), str(schema.proctime), *columns]
