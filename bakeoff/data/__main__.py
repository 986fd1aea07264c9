"""``python -m bakeoff.data``: write the teaching set from its sources."""

from bakeoff.data import write_teaching_set

if __name__ == "__main__":
    write_teaching_set()
