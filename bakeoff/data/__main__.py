"""``python -m bakeoff.data``: rewrite the teaching set after an edit of the exam or the dialogues."""

from bakeoff.data import write_teaching_set

if __name__ == "__main__":
    write_teaching_set()
