"""The owner's results: names revealed, statistics, export, paper pack."""

from __future__ import annotations

import base64

from bakeoff.foundation.errors import BakeoffError
from bakeoff.judgement.arena import arena_results
from bakeoff.judgement.arrangement import current_study
from bakeoff.judgement.messages import Answer, Request, fresh_answer, request_of
from bakeoff.judgement.paper import zipped
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.refusals import refusal
from bakeoff.judgement.verdicts import summarise


class ResultsDesk:
    """What the owner sees: names revealed, statistics, export."""

    def __init__(
        self, store: RatingStore, study_id: str | None, raters: Raters | None, open_to_all: bool
    ) -> None:
        self.store = store
        self.study_id = study_id
        self.raters = raters
        self.open_to_all = open_to_all

    def why_closed(self, signed_in: str | None) -> str:
        """Why this person sees no results; empty where they may."""
        if self.raters is not None and not self.raters.is_owner(signed_in):
            return "owner"
        return "closed" if self.raters is None and not self.open_to_all else ""

    def step(self, message: object, signed_in: str | None) -> Answer:
        """Results, or a file to download; a refusal for all but the owner."""
        fresh = fresh_answer(view="refused", why="")
        if why := self.why_closed(signed_in):
            return fresh | {"why": why}
        request = request_of(message)
        try:
            if request.get("action") == "export":
                name = f"ratings-{self.study_id or 'all'}.csv"
                return fresh | {"view": "csv", "name": name, "csv": self.store.csv_text(self.study_id)}
            return self._results(fresh, request)
        except BakeoffError as error:
            return fresh | {"view": "trouble"} | refusal(error)

    def _results(self, fresh: Answer, request: Request) -> Answer:
        """Results of the study, rater and topic that *said* names."""
        studies = self.store.studies()
        study_id = request.get("study") or current_study(self.store) or self.study_id
        if not isinstance(study_id, str) or study_id not in studies:
            study_id = self.study_id
        if study_id is None:
            return fresh | {"why": "nothing"}
        if request.get("action") == "paper":
            content = base64.b64encode(zipped(self.store, study_id)).decode()
            return fresh | {"view": "zip", "name": f"paper-{study_id}.zip", "zip": content}
        rater, topic = request.get("rater"), request.get("topic")
        only = [rater] if isinstance(rater, str) and rater else []
        about = topic if isinstance(topic, str) else ""
        named = [{"id": name, "title": self.store.study(name).title} for name in studies]
        chosen = {"study": study_id, "rater": only[0] if only else "", "topic": about}
        summary = summarise(self.store, study_id, raters=only, topic=about)
        return fresh | {
            "view": "results",
            "results": summary,
            "studies": named,
            "chosen": chosen,
            "arena": arena_results(self.store),
        }
