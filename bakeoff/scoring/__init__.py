"""Turn replies into scores: reading answers, ledgers, leakage, published scores."""
