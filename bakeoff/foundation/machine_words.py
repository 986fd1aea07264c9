# ruff: noqa: E501  (a list is an idea)
"""The English words of machines and their failures."""

from __future__ import annotations

# The vocabulary of machines. A sentence of nothing else, a failure among it, is no person's: people who speak of
# failures and overload name what failed or overloads them, and that word is none of these.
MACHINES = frozenset([
    "server", "servers", "service", "services", "system", "engine", "backend", "model", "models",
    "request", "requests", "network", "connection", "upstream", "gateway", "api", "account", "quota",
    "traffic", "capacity", "deployment", "inference", "worker", "workers", "instance", "instances",
    "queue", "key", "token", "tokens", "credential", "credentials", "authentication", "authorization",
    "balance", "credit", "billing", "plan", "limit", "rate", "context", "length", "input", "prompt",
    "memory", "cuda", "gpu", "endpoint", "database", "proxy", "nginx", "vllm", "openai", "anthropic",
    "litellm", "http", "https", "status", "code", "error", "errors", "exception", "exceptions",
    "apistatuserror", "concurrency", "process", "host", "address", "client", "response", "stream",
    "timeout", "maintenance", "load", "demand", "permission", "fetch", "socket", "dns", "ssl",
    "loading", "usage", "page", "filter", "generation", "administrator", "output", "channel", "trace", "subscription", "trial", "region", "group",
])  # fmt: skip
UNMISTAKABLE = frozenset([
    "server", "servers", "service", "services", "backend", "upstream", "gateway", "api", "network", "engine", "cuda", "gpu",
    "endpoint", "database", "proxy", "nginx", "vllm", "openai", "http", "https", "apistatuserror", "connection", "permission", "request", "requests", "quota",
])  # fmt: skip
FAILURES = frozenset([
    "busy", "overloaded", "unavailable", "down", "failed", "fails", "fail", "failure", "failing",
    "timeout", "timed", "timing", "crashed", "died", "dead", "exceeded", "exceeds", "exceed",
    "insufficient", "suspended", "expired", "invalid", "denied", "refused", "closed", "reset",
    "aborted", "unauthorized", "forbidden", "loading", "error", "errors", "exception", "maintenance",
    "long", "many", "full", "low", "heavy", "high", "unreachable", "wrong", "bad", "limited",
    "throttled", "restarting", "cannot", "not", "no", "unexpectedly", "unsupported", "missing",
    "rejected", "blocked", "unable", "exhausted",
])  # fmt: skip
FUNCTION = frozenset([
    "access", "the", "a", "an", "this", "that", "our", "your", "we", "you", "i", "is", "are", "was", "were",
    "has", "have", "been", "be", "it", "its", "of", "for", "to", "in", "on", "at", "from", "with", "by",
    "and", "or", "but", "too", "currently", "temporarily", "still", "now", "please", "try", "again",
    "later", "retry", "retrying", "wait", "come", "back", "few", "minutes", "moment", "moments",
    "seconds", "shortly", "slow", "up", "top", "continue", "could", "can", "cannot", "reach", "connect",
    "different", "contact", "support", "under", "undergoing", "experiencing", "out", "read", "while",
    "processing", "available", "internal", "temporary", "maximum", "unexpected", "unknown", "sorry",
    "check", "s", "re", "t", "than", "allocate", "tried", "gib", "mib", "gb", "mb", "after", "soon",
    "refresh", "occurred", "reached", "get", "refused", "name", "found", "entity", "large", "content",
    "unusually", "kindly", "bit", "hmm", "seems", "seem", "gone", "produced", "raised", "default",
    "free", "time", "these", "those", "using", "used", "generate", "perform", "log", "login", "session",
    "ended", "daily", "trouble", "connecting", "having", "due", "complete", "completed", "loaded", "right", "message", "cycle", "tomorrow", "upgrade", "per", "id",
])  # fmt: skip
