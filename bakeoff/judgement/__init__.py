"""Human and model judgement, without a page: replies, blind studies, ratings, agreement, verdicts."""
