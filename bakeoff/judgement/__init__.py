"""Human and model judgement of replies, without a page.

Replies, blind studies, ratings, agreement, verdicts.
"""
