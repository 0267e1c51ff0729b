"""Models that queries ask: what they are, and how each provider is asked.

A model in a file answers at once (:class:`~anomaly_app.models.model.LocalModel`); one behind an address says what to
send and what an answer means (:class:`~anomaly_app.models.model.RemoteModel`), and somebody else makes the calls.
"""
