"""Turn replies into scores: answers, ledgers, leakage, published scores."""
