"""Run commands on this machine: processes, cards and retries."""
