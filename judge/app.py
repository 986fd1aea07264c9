"""The layout of the page; what happens is in :mod:`bakeoff`."""

from __future__ import annotations

import contextlib
import html
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.judgement.arena import ArenaDesk
from bakeoff.judgement.chat import ChatDesk
from bakeoff.judgement.desk import Desk
from bakeoff.judgement.invitations import Invitations
from bakeoff.judgement.items import ItemsDesk
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.results import ResultsDesk
from bakeoff.judgement.rubric import load_rubric
from bakeoff.judgement.studio import Material, StudioDesk
from judge.entrance import add_entrance
from judge.own_cases import FOLDER, OwnCases, StudioPage
from judge.sign_in import SignIn, keep_sessions


@contextlib.contextmanager
def _without_proxies() -> Iterator[None]:
    """The environment without proxies.

    A socks proxy, or an odd no_proxy, breaks Gradio's import.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    try:
        yield
    finally:
        os.environ.update(hidden)


os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# A page whose form is checked by nobody else: what Gradio would let a developer's page do stays off.
os.environ.pop("GRADIO_LOCAL_DEV_MODE", None)

with _without_proxies():
    import gradio as gr

if TYPE_CHECKING:
    from fastapi import FastAPI

HERE = Path(__file__).parent
SIGN_OUT = (
    "<a class='sign-out' href='{root}/logout'>"
    "<span class='zh-only'>退出</span><span class='en-only'>Sign out</span></a>"
)
SIGN_IN = (
    "<span lang='zh-CN'>请使用研究负责人提供的用户名和密码登录；收到邀请链接的评分者请直接打开链接。</span><br>"
    "<span lang='en'>Sign in with the user name and password you were given; if you were sent an invitation link, "
    "open that instead.</span>"
)
DIRECT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "trigger_mode": "multiple"}
"""How Gradio is to treat what is answered at once.

"once" would drop a click that follows an answer so fast that Gradio has not put that call away yet; the pages' own
scripts see to double clicks.
"""
EMPTY_PAGE = "<div></div>"
TITLE = "Judge · 评分"
HEADLINE = "<h1><span class='zh-only'>评分</span><span class='en-only'>Judge</span></h1>"
# Gradio scopes css_paths to the page's inside, where its own outer padding cannot be reached.
NARROW = "<style>@media (max-width: 820px) { .fillable.app { padding: 12px !important; } }</style>"


@dataclass(frozen=True)
class Settings:
    """What the page is started with.

    Attributes:
        study_id: the blind study on the first tab; None shows how to make one.
        raters: who may sign in; None leaves the page open (loopback only).
        services: served name -> OpenAI-compatible root, for the chat tab.
        keys: served name -> environment variable with that service's key, where it wants one.
        open_results: show results to everybody while nobody signs in.
        root_path: path prefix under which a proxy serves the page, such as "/judge".
        names: host names under which the page is served beside this machine's own; any where there are none.
        material: what the owner can make studies of.
        revive: called with the name of a model that gave no whole reply; whether to ask it once more.
    """

    store: RatingStore
    study_id: str | None = None
    raters: Raters | None = None
    services: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    open_results: bool = False
    root_path: str = ""
    names: Sequence[str] = ()
    material: Callable[[], Material] = Material
    revive: Callable[[str], bool] = lambda model: False


def _trouble(refusal: Mapping[str, str]) -> str:
    if not refusal:
        return ""
    zh, en = (html.escape(refusal[key]) for key in ("error_zh", "error"))
    return f"<p class='trouble'><span class='zh-only'>⚠ {zh}</span><span class='en-only'>⚠ {en}</span></p>"


def _page(name: str, mode: str, *before: str) -> gr.HTML:
    script = "".join((HERE / part).read_text(encoding="utf-8") for part in ("common.js", *before, name))
    return gr.HTML(
        value={},
        html_template=EMPTY_PAGE,
        js_on_load=script,
        apply_default_css=False,
        rubric=json.loads(json.dumps(load_rubric().content)),
        mode=mode,
    )


@contextlib.contextmanager
def _page_frame(settings: Settings) -> Iterator[None]:
    """The page's name above the tabs, and the way out of a session."""
    gr.HTML(HEADLINE, elem_classes="page-title")
    if settings.raters:
        gr.HTML(SIGN_OUT.format(root=html.escape(settings.root_path, quote=True)), elem_classes="way-out")
    yield


@dataclass(frozen=True)
class Desks:
    """What answers each tab's messages."""

    study: Desk
    results: ResultsDesk
    studio: StudioPage
    items: ItemsDesk

    @classmethod
    def of(cls, settings: Settings) -> Desks:
        """The desks of a page that is started with *settings*."""
        store, raters = settings.store, settings.raters
        cases = OwnCases(store.path.parent / FOLDER, settings.services, settings.keys)
        studio = StudioDesk(store, raters, lambda: cases.added_to(settings.material()), settings.study_id)
        return cls(
            Desk(store, settings.study_id, raters.study_of if raters else lambda _: None),
            ResultsDesk(store, settings.study_id, raters, settings.open_results),
            StudioPage(studio, cases, settings.material),
            ItemsDesk(store, studio.is_open_to),
        )

    def manages(self, signed_in: str | None) -> bool:
        """Whether this person may manage studies."""
        return self.studio.studio.is_open_to(signed_in)


def build(settings: Settings) -> gr.Blocks:
    """The page, not yet served."""
    desks = Desks.of(settings)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page, _page_frame(settings), gr.Tabs():
        with gr.Tab("评分 Study"):
            _study_tab(desks, page, nobody_signs_in=settings.raters is None)
        if settings.services:
            with gr.Tab("对话 Chat"):
                _chat_tab(settings, page)
        if len(settings.services) > 1:
            with gr.Tab("盲测对比 Arena"):
                _arena_tab(settings, page)
        _owner_tabs(desks, page)
    return page


def _study_tab(desks: Desks, page: gr.Blocks, *, nobody_signs_in: bool) -> None:
    """The blind study."""

    def on_desk(message: object, request: gr.Request) -> Mapping[str, object]:
        may_manage = nobody_signs_in or desks.manages(request.username)
        return desks.study.step(message, request.username) | {"may_manage": may_manage}

    def on_draft(message: dict[str, object], request: gr.Request) -> Mapping[str, object]:
        return desks.study.keep_draft(message, request.username)

    form = _page("desk.js", "study", "checks.js")
    form.submit(on_desk, form, form, api_name="desk", **DIRECT)
    page.load(on_desk, form, form, api_name="open", **DIRECT)
    gr.api(on_draft, api_name="draft", queue=False)


def _owner_tabs(desks: Desks, page: gr.Blocks) -> None:
    """Studio, items and results; what one may not use is not there."""

    def on_results(message: object, request: gr.Request) -> Mapping[str, object]:
        return desks.results.step(message, request.username)

    def on_studio(message: object, request: gr.Request) -> Mapping[str, object]:
        return desks.studio.step(message, request.username)

    def on_items(message: object, request: gr.Request) -> Mapping[str, object]:
        return desks.items.step(message, request.username)

    # Opening a tab asks for what it shows, never again for what its page asked for last.
    def show_studio(request: gr.Request) -> Mapping[str, object]:
        return desks.studio.step({}, request.username)

    def show_items(message: object, request: gr.Request) -> Mapping[str, object]:
        study_id = message.get("study") if isinstance(message, Mapping) else None
        return desks.items.step({"study": study_id} if study_id else {}, request.username)

    def on_tabs(request: gr.Request) -> tuple[object, object, object]:
        # Nothing is changed for raters: a change would draw the page that they are reading anew.
        manages = gr.update(visible=True) if desks.manages(request.username) else gr.skip()
        reads = gr.skip() if desks.results.why_closed(request.username) else gr.update(visible=True)
        return manages, manages, reads

    with gr.Tab("研究 Studio", visible=False) as studio_tab:
        board = _page("studio.js", "studio")
        board.submit(on_studio, board, board, api_name="studio", **DIRECT)
        studio_tab.select(show_studio, None, board, api_name="show_studio", **DIRECT)
    with gr.Tab("条目 Items", visible=False) as items_tab:
        reader = _page("items.js", "items")
        reader.submit(on_items, reader, reader, api_name="items", **DIRECT)
        items_tab.select(show_items, reader, reader, api_name="show_items", **DIRECT)
    with gr.Tab("结果 Results", visible=False) as results_tab:
        table = _page("results.js", "results")
        table.submit(on_results, table, table, api_name="results", **DIRECT)
        results_tab.select(on_results, table, table, api_name="show_results", **DIRECT)
    page.load(on_tabs, None, [studio_tab, items_tab, results_tab], api_name=False, **DIRECT)


def _arena_tab(settings: Settings, page: gr.Blocks) -> None:
    """Two hidden models side by side, turn by turn."""
    arena = ArenaDesk(settings.store, settings.services, settings.keys, settings.revive)

    def on_arena(message: object, request: gr.Request) -> Mapping[str, object]:
        return arena.step(message, request.username)

    board = _page("arena.js", "arena")
    # A turn waits for two models; in the queue it keeps no thread from those who score.
    waiting = DIRECT | {"queue": True, "concurrency_limit": 10, "trigger_mode": "multiple"}
    board.submit(on_arena, board, board, api_name="arena", **waiting)
    page.load(on_arena, board, board, api_name="arena_open", **DIRECT)


@dataclass(frozen=True)
class TalkBoxes:
    """The parts of the page that hold a talk.

    Attributes:
        spoken_with: the model whose replies the talk holds.
        begun, shown: which talk is under way, and which one the page shows; they differ while a reply that was
            cancelled is still arriving.
    """

    model: gr.Dropdown
    talk: gr.Chatbot
    spoken_with: gr.Textbox
    begun: gr.Textbox
    shown: gr.Textbox
    trouble: gr.HTML
    text: gr.Textbox
    anew: gr.Button


def _talking(chat: ChatDesk, boxes: TalkBoxes) -> None:
    """What happens in a talk: a message, another model, a new talk."""

    def on_say(
        model: object, talk: object, text: object, begun: object, shown: object
    ) -> Iterator[tuple[object, ...]]:
        # What is left on the page of a talk that is over is no part of this one.
        for number, (grown, left, trouble) in enumerate(
            chat.say(model, talk if shown == begun else [], text)
        ):
            # Emptied once: what is typed while the reply grows stays.
            yield grown, left if left or not number else gr.skip(), model, begun, _trouble(trouble)

    def on_new_talk() -> tuple[object, ...]:
        return [], "", "", secrets.token_hex(8)

    def on_end(begun: object, shown: object) -> tuple[object, ...]:
        return (gr.skip(), gr.skip(), gr.skip()) if shown == begun else ([], "", "")

    emptied = [boxes.talk, boxes.spoken_with, boxes.trouble]
    saying = boxes.text.submit(
        on_say,
        [boxes.model, boxes.talk, boxes.text, boxes.begun, boxes.shown],
        [boxes.talk, boxes.text, boxes.spoken_with, boxes.shown, boxes.trouble],
        api_name="say",
        concurrency_limit=20,
        trigger_mode="multiple",  # "once" drops a message while a cancelled reply is still ending
    )
    for event in (boxes.model.change, boxes.anew.click):
        event(
            on_new_talk,
            None,
            [*emptied, boxes.begun],
            api_name=False,
            cancels=[saying],
            queue=False,
            trigger_mode="multiple",
        )
    # Gradio goes on showing pieces of a cancelled reply until the server has heard of it, and the page may have been
    # emptied before that. What comes after the last piece sees to it that none of a talk that is over stays.
    saying.then(on_end, [boxes.begun, boxes.shown], emptied, api_name=False, **DIRECT)


def _chat_tab(settings: Settings, page: gr.Blocks) -> None:
    """Talking with a named model, and the form that scores the talk."""
    chat = ChatDesk(settings.store, settings.services, settings.keys, settings.revive)

    def on_chat_score(
        message: object, model: object, talk: object, spoken_with: object, request: gr.Request
    ) -> Mapping[str, object]:
        return chat.score(message, model, talk, spoken_with, request.username)

    with gr.Row():
        with gr.Column(scale=3):
            model = gr.Dropdown(
                list(settings.services), label="模型 · Model", value=next(iter(settings.services))
            )
            talk = gr.Chatbot(
                label="对话 · Conversation",
                height="52vh",
                render_markdown=False,
                sanitize_html=True,
                feedback_options=None,
                buttons=["copy"],
            )
            spoken_with = gr.Textbox(visible=False)
            begun, shown = gr.Textbox("", visible=False), gr.Textbox("", visible=False)
            trouble = gr.HTML()
            text = gr.Textbox(
                label="消息 · Message",
                show_label=False,
                placeholder="输入消息，回车发送 · Type and press Enter",
            )
            anew = gr.Button("新对话 · New conversation", size="sm", elem_classes="new-talk")
        with gr.Column(scale=2, min_width=380):
            score = _page("desk.js", "chat", "checks.js")
    _talking(chat, TalkBoxes(model, talk, spoken_with, begun, shown, trouble, text, anew))
    inputs = [score, model, talk, spoken_with]
    score.submit(on_chat_score, inputs, score, api_name="chat_score", **DIRECT)
    page.load(on_chat_score, inputs, score, api_name="chat_open", **DIRECT)


def _theme() -> gr.themes.Base:
    fonts = ["system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
    return gr.themes.Default(
        primary_hue="teal",
        font=[gr.themes.Font(name) for name in fonts],
        font_mono=[gr.themes.Font("monospace")],
    ).set(
        button_primary_background_fill="#2f6f6a",
        button_primary_background_fill_hover="#265a56",
        button_primary_background_fill_dark="#2f6f6a",
        button_primary_background_fill_hover_dark="#265a56",
        button_primary_text_color="#ffffff",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def serve(settings: Settings, *, only_loopback: bool) -> FastAPI:
    """The web application: the page behind sign-in and guard."""
    import fastapi

    from judge.guard import Guard
    from judge.sieve import Sieve
    from judge.titled import Titled

    raters = settings.raters

    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    invitations = Invitations(raters) if raters else None
    if invitations:
        add_entrance(outer, invitations)
    page = build(settings).queue(default_concurrency_limit=20)
    served: FastAPI = gr.mount_gradio_app(
        outer,
        page,
        path="/",
        auth=SignIn(raters).__call__ if raters else None,
        auth_message=SIGN_IN if raters else None,
        css_paths=HERE / "judge.css",
        head=NARROW,
        theme=_theme(),
        footer_links=[],
        show_error=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        root_path=settings.root_path or None,
    )
    rater_of = None
    if raters and invitations:
        rater_of = keep_sessions(
            raters,
            invitations,
            [
                inner
                for route in served.routes
                if isinstance(inner := getattr(route, "app", None), gr.routes.App)
            ],
        )
    served.add_middleware(Titled, title=TITLE)
    served.add_middleware(Sieve, page=page)
    served.add_middleware(
        Guard,
        only_loopback=only_loopback and raters is None,
        root_path=settings.root_path,
        names=settings.names,
        rater_of=rater_of,
    )
    return served
