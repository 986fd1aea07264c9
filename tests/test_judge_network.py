"""The judge on a network: behind TLS and a path prefix, beside hostile neighbours and a flood of strangers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from judge_app import App, free_port, judge, study

from bakeoff.foundation.errors import ServiceError
from bakeoff.judgement import chat
from bakeoff.judgement import raters as raters_module
from bakeoff.judgement.invitations import Invitations
from bakeoff.judgement.raters import MAX_FAILURES, Raters, Sessions
from bakeoff.judgement.ratings import RatingStore
from judge import guard as guard_module
from judge.__main__ import main
from judge.guard import Guard, host_name

pytest.importorskip("gradio", reason="the judge needs gradio: pip install 'bakeoff[judge]'")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
PASSWORDS = {"anna": "anna's password", "owner": "owner's password"}
HOST, SIBLING, FOREIGN = "judge.lab.test", "blog.lab.test", "evil.example"
CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
  server {{
    listen 127.0.0.1:{port} ssl; server_name {host};
    location /judge/ {{
      proxy_pass http://127.0.0.1:{page}/;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_buffering off;
    }}
  }}
  server {{
    listen 127.0.0.1:{port} ssl default_server; server_name _; default_type text/html;
    location / {{ return 200 "<title>elsewhere</title>"; }}
  }}
}}
"""


def run_asgi(
    guard: Guard, headers: dict[str, str], path: str = "/", method: str = "GET", peer: str = "127.0.0.1"
) -> Any:
    """Status and headers that *guard* answers with, and the scope that it lets through."""
    import asyncio

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http", "method": method, "path": path, "scheme": "http", "query_string": b"", "client": (peer, 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], sent[0]["headers"]


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """What Gradio would answer: with its cookies and its cross-origin headers."""
    headers = [
        (b"access-control-allow-origin", b"https://evil.example"),
        (b"access-control-allow-credentials", b"true"),
        (b"set-cookie", b"access-token-x=t; HttpOnly; Path=/; SameSite=none; Secure"),
        (b"set-cookie", b"access-token-unsecure-x=t; HttpOnly; Path=/; SameSite=lax"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


TLS = {"Host": "judge.lab.test", "X-Forwarded-Proto": "https"}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("headers", "path", "method", "status"),
    [
        (TLS, "/", "GET", 200),
        (TLS | {"Origin": "https://judge.lab.test"}, "/login", "POST", 200),
        (TLS | {"Origin": "https://judge.lab.test:443"}, "/login", "POST", 403),  # no browser spells it so
        (TLS | {"Origin": "http://judge.lab.test"}, "/login", "POST", 403),
        (TLS | {"Origin": "https://judge.lab.test:8443"}, "/login", "POST", 403),
        (TLS | {"Origin": "https://judge.lab.test.evil.example"}, "/login", "POST", 403),
        (TLS | {"Origin": "null"}, "/gradio_api/run/desk", "POST", 403),
        (TLS | {"Origin": ""}, "/gradio_api/run/desk", "POST", 403),
        (TLS | {"Origin": "https://evil.example"}, "/gradio_api/run/desk", "OPTIONS", 403),
        (TLS | {"Sec-Fetch-Site": "same-site"}, "/gradio_api/run/desk", "POST", 403),
        (TLS | {"Sec-Fetch-Site": "cross-site"}, "/config", "GET", 403),
        (TLS | {"Sec-Fetch-Site": "something-new"}, "/config", "GET", 403),
        (TLS | {"Sec-Fetch-Site": "cross-site"} | NAVIGATION, "/", "GET", 200),
        (TLS | {"Sec-Fetch-Site": "cross-site"} | NAVIGATION, "/", "POST", 403),
        (TLS | {"Sec-Fetch-Site": "cross-site"} | NAVIGATION, "/logout", "GET", 403),
        (TLS | {"Sec-Fetch-Site": "cross-site"} | NAVIGATION | {"Sec-Fetch-Dest": "iframe"}, "/", "GET", 403),
        (TLS | {"Sec-Fetch-Site": "cross-site"} | NAVIGATION, "/invite", "GET", 200),  # a link in somebody's mail
        (TLS | {"Sec-Fetch-Site": "cross-site"} | NAVIGATION, "/invite", "POST", 403),
        (TLS | {"Origin": "https://evil.example"}, "/invite", "POST", 403),
        (TLS | {"Origin": "https://judge.lab.test"}, "/invite", "POST", 200),
        (TLS, "/invite/x", "GET", 403),
        (TLS | {"Sec-Fetch-Site": "same-origin"}, "/logout", "GET", 200),
        ({"Host": "judge.lab.test", "Origin": "https://judge.lab.test"}, "/login", "POST", 403),
        # A TLS proxy that does not say that it is: the browser vouches for the origin.
        (
            {"Host": "judge.lab.test", "Origin": "https://judge.lab.test", "Sec-Fetch-Site": "same-origin"},
            "/login", "POST", 200,
        ),
        ({"Host": "x<script>"}, "/", "GET", 400),
        ({}, "/", "GET", 400),
        *((TLS, path, "GET", 403) for path in (
            "/gradio_api/token", "/gradio_api/token/", "/gradio_api/deep_link", "/gradio_api/runs",
            "/gradio_api/openapi.json",
            "/monitoring", "/gradio_api/file=/etc/passwd", "/gradio_api/call/v2/results", "//login", "/docs")),
    ],
)  # fmt: skip
def test_only_the_page_s_own_origin_is_served_and_only_what_it_needs(
    headers: dict[str, str], path: str, method: str, status: int
) -> None:
    answered, sent = run_asgi(Guard(inner, only_loopback=False), headers, path, method)
    assert answered == status
    assert not [name for name, _ in sent if name.startswith(b"access-control-")]


def test_forwarding_headers_are_believed_from_this_machine_only() -> None:
    guard = Guard(inner, only_loopback=False)
    forwarded = TLS | {
        "Host": "10.0.0.5:7860",
        "X-Forwarded-Host": "judge.lab.test",
        "Origin": "https://judge.lab.test",
    }
    assert run_asgi(guard, forwarded, "/login", "POST")[0] == 200
    assert run_asgi(guard, forwarded, "/login", "POST", peer="10.0.0.9")[0] == 403
    assert (
        run_asgi(guard, forwarded | {"X-Forwarded-Host": "evil.example, judge.lab.test"}, "/login", "POST")[0]
        == 200
    )
    assert (
        run_asgi(guard, forwarded | {"X-Forwarded-Host": "judge.lab.test, evil.example"}, "/login", "POST")[0]
        == 403
    )
    # A page that nobody signs in to is not opened to others by a proxy either.
    assert (
        run_asgi(Guard(inner, only_loopback=True), {"Host": "localhost", "X-Forwarded-Host": "x.test"})[0]
        == 403
    )


def test_one_cookie_is_set_and_it_stays_on_this_site() -> None:
    for headers, name, secure in (
        (TLS, b"access-token-x=", True),
        ({"Host": "127.0.0.1:1"}, b"access-token-unsecure-x=", False),
    ):
        _, sent = run_asgi(
            Guard(inner, only_loopback=False, root_path="/judge"), headers, "/judge/login", "POST"
        )
        (cookie,) = [value for key, value in sent if key == b"set-cookie"]
        assert cookie.startswith(name)
        assert (b"Secure" in cookie) is secure
        assert all(mark in cookie for mark in (b"SameSite=Lax", b"HttpOnly", b"Path=/judge"))
        assert (b"strict-transport-security" in dict(sent)) is secure


@pytest.mark.parametrize(
    ("headers", "root_path", "cookies", "reach_gradio"),
    [
        # What a neighbouring host set for the whole domain never signs anybody in, first or last.
        (TLS, "", "access-token-x=theirs", ""),
        (TLS, "", "a=1; __Host-access-token-x=ours; access-token-x=theirs", "a=1; access-token-x=ours"),
        (TLS, "", "access-token-unsecure-x=theirs; __Host-access-token-x=ours", "access-token-x=ours"),
        # The proxy does not say that it speaks TLS; the browser's own mark of the cookie does.
        ({"Host": "j.test"}, "", "access-token-x=theirs; __Host-access-token-x=ours", "access-token-x=ours"),
        (TLS, "/judge", "access-token-x=ours; access-token-unsecure-x=theirs", "access-token-x=ours"),
        ({"Host": "127.0.0.1"}, "", "access-token-unsecure-x=ours", "access-token-unsecure-x=ours"),
    ],
)
def test_behind_tls_no_neighbour_s_cookie_is_a_session(
    headers: dict[str, str], root_path: str, cookies: str, reach_gradio: str
) -> None:
    seen = []

    async def looking(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"])[b"cookie"].decode())
        await inner(scope, receive, send)

    guard = Guard(looking, only_loopback=False, root_path=root_path)
    _, sent = run_asgi(guard, headers | {"Cookie": cookies}, f"{root_path}/login", "POST")
    assert seen == [reach_gradio]
    (cookie,) = [value for key, value in sent if key == b"set-cookie"]
    assert cookie.startswith(b"__Host-") is (headers is TLS and not root_path)
    assert b"; Path=/judge;" in cookie if root_path else b"; Path=/;" in cookie


def test_a_page_with_names_is_served_under_no_other() -> None:
    guard = Guard(inner, only_loopback=False, names=["judge.lab.test"])
    for host, status in (
        ("judge.lab.test", 200),
        ("JUDGE.lab.test:8443", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("evil.example", 403),
        ("judge.lab.test.evil.example", 403),
        ("10.0.0.5:7860", 403),
        ("judge.lab.test.", 403),
    ):
        assert run_asgi(guard, {"Host": host})[0] == status, host


def test_strangers_send_little_and_nobody_much_at_once() -> None:
    import asyncio

    small, large, too_large = "16000", str(guard_module.LARGE_BODY_BYTES + 1), "20000"
    guard = Guard(inner, only_loopback=False, rater_of=lambda cookies: cookies or None)
    for path, cookie, length, status in (
        ("/login", "", small, 200),
        ("/login", "anna", too_large, 413),
        ("/invite", "", too_large, 413),
        ("/gradio_api/run/desk", "", too_large, 401),
        ("/gradio_api/run/desk", "anna", too_large, 200),
        ("/gradio_api/run/desk", "anna", large, 200),
    ):
        headers = TLS | {"Content-Length": length, "Cookie": cookie}
        assert run_asgi(guard, headers, path, "POST")[0] == status, (path, cookie, length)

    async def at_once(count: int) -> list[int]:
        """What is answered to large bodies of a rater that come together, and to another rater's beside them."""
        statuses: list[int] = []
        everything = asyncio.Event()

        async def send(message: Any) -> None:
            if "status" in message:
                statuses.append(message["status"])
                if len(statuses) == count - guard_module.LARGE_AT_ONCE:
                    everything.set()

        async def receive() -> Any:
            await everything.wait()
            return {"type": "http.request", "body": b""}

        def scope(rater: bytes) -> Any:
            headers = [(b"host", b"j.test"), (b"content-length", large.encode()), (b"cookie", rater)]
            return {"type": "http", "method": "POST", "path": "/gradio_api/run/desk", "headers": headers}

        await asyncio.gather(*(guard(scope(b"anna"), receive, send) for _ in range(count)))
        await guard(scope(b"bob"), receive, send)
        return statuses

    assert sorted(asyncio.run(at_once(5))) == [200, 200, 200, 429, 429, 429]


def test_what_is_begun_and_never_sent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    import uvicorn
    from uvicorn.server import ServerState

    from judge import patience

    monkeypatch.setattr(guard_module, "BODY_S", 0.05)
    monkeypatch.setattr(patience, "HEAD_S", 0.2)
    app = Guard(inner, only_loopback=False)

    async def answers(*begun: bytes) -> list[bytes]:
        """What the server says to each, until it closes the connection."""
        config = uvicorn.Config(app, log_level="critical")
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: patience.PatientProtocol(config, ServerState(), {}), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]

        async def said(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer

        async with server:
            return await asyncio.gather(*map(said, begun))

    head = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
    silent, cut, short, again = asyncio.run(
        answers(b"", head, head + b"\r\nabc", head.replace(b"9", b"0") + b"\r\n" + head)
    )
    assert (silent, cut) == (b"", b"")
    assert short.startswith(b"HTTP/1.1 408 ")
    assert again.startswith(b"HTTP/1.1 200 ")


# ------------------------------ sign-in


def test_forty_wrong_ones_at_once_are_compared_five_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raters = Raters(tmp_path / "raters.json")
    raters.add("anna", PASSWORDS["anna"])
    salt, salts, lock = raters._read()["anna"]["salt"], [], threading.Lock()
    hashing = raters_module._hash

    def counted(password: str, salt: str) -> str:
        with lock:
            salts.append(salt)
        return hashing(password, salt)

    monkeypatch.setattr(raters_module, "_hash", counted)
    threads = [threading.Thread(target=raters.signs_in, args=("anna", f"guess {n}")) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert salts.count(salt) == MAX_FAILURES
    assert len(salts) == 40  # a locked name costs a hash, too, as an unknown one does
    assert not raters.signs_in("anna", PASSWORDS["anna"])


def test_right_ones_are_not_counted_and_an_address_is_refused_over_all_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raters_module, "_hash", lambda password, salt: f"{salt}{password}")
    raters = Raters(tmp_path / "raters.json")
    raters.add("anna", PASSWORDS["anna"])
    assert all(raters.signs_in("anna", PASSWORDS["anna"], "1.1.1.1") for _ in range(200))
    for n in range(raters_module.MAX_ADDRESS_FAILURES):
        assert not raters.is_refused("2.2.2.2")
        raters.signs_in(f"nobody {n}", "guess", "2.2.2.2")
    assert raters.is_refused("2.2.2.2")
    assert not raters.signs_in("anna", PASSWORDS["anna"], "2.2.2.2")
    assert raters.signs_in("anna", PASSWORDS["anna"], "1.1.1.1")


def test_a_session_ends_with_the_password_or_the_rater(tmp_path: Path) -> None:
    raters = Raters(tmp_path / "raters.json")
    for name, password in PASSWORDS.items():
        raters.add(name, password, owner=name == "owner")
    sessions = Sessions(raters)
    sessions["a"], sessions["b"] = "anna", "owner"
    assert (sessions.get("a"), sessions.get("b"), sessions.get(None), sessions.get("c")) == (
        "anna",
        "owner",
        None,
        None,
    )
    Raters(raters.path).add("anna", "another password")
    assert (sessions.get("a"), sessions.get("b")) == (None, "owner")
    Raters(raters.path).remove("owner")
    assert sessions.get("b") is None
    raters.path.write_text("{", encoding="utf-8")
    assert sessions.get("b") is None


def test_a_new_password_ends_lasting_sessions_and_links_also_after_a_restart(tmp_path: Path) -> None:
    raters = Raters(tmp_path / "raters.json")
    invitations = Invitations(raters)
    invited = [invitations.invite(), invitations.invite()]
    (name, session), (other, others) = (invitations.redeem(each.token) for each in invited)  # type: ignore[misc]
    open_link = invitations.again(name).token
    raters.add(name, "a password of their own", owner=True)
    fresh = Raters(raters.path)  # as a server that starts now
    sessions = Sessions(fresh, Invitations(fresh).session)
    assert (sessions.get(session), sessions.get(others)) == (None, other)
    assert Invitations(fresh).redeem(open_link) is None  # nobody becomes an owner by an older link


@pytest.mark.parametrize(
    "text", ["", "https://judge.lab.test", "judge.lab.test:8443", "[::1]:1", "a b", "x/y"]
)
def test_a_name_of_the_page_has_neither_scheme_nor_port(text: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        host_name(text)
    assert host_name(" Judge.lab.test") == "judge.lab.test"


def test_ownership_changes_only_when_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    def run(*arguments: str, password: str = "a long password") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
        return main([*arguments, "--raters", str(tmp_path / "r.json")])

    raters = Raters(tmp_path / "r.json")
    assert run("add-rater", "boss", "--owner") == 0
    assert run("add-rater", "boss", password="a second password") == 0
    assert raters.is_owner("boss")
    assert run("reset", "boss", password="a third password") == 0
    assert raters.is_owner("boss")
    assert raters.signs_in("boss", "a third password")
    assert run("add-rater", "boss", "--no-owner") == 0
    assert not raters.is_owner("boss")
    assert (run("reset", "bos"), run("remove-rater", "bos")) == (2, 2)
    assert "'bos'" in capsys.readouterr().err
    assert run("remove-rater", "boss") == 0
    assert raters.names == []


# ------------------------------ in a browser


@dataclass
class Site:
    """A judge behind TLS under /judge, with two other hosts at the same port."""

    app: App
    port: int
    driver: Any
    raters: Raters

    def url(self, host: str) -> str:
        return f"https://{host}:{self.port}/judge/"

    def wait(self, condition: Any) -> Any:
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 60, 0.1, (WebDriverException,)).until(lambda _: condition())

    def one(self, selector: str) -> Any:
        return self.wait(
            lambda: next(
                (e for e in self.driver.find_elements("css selector", selector) if e.is_displayed()), None
            )
        )

    def sign_in(self, name: str) -> None:
        self.driver.get(self.url(HOST))
        self.one('input[type="password"]').send_keys(PASSWORDS[name])
        self.one("input[type='text'], textarea").send_keys(name)
        self.one("button.primary, form button, .gradio-container button").click()
        self.one("a.sign-out")

    def fetch(self, path: str, **options: Any) -> Any:
        """Status and text as a script of the page at hand gets them, or the browser's refusal."""
        return self.driver.execute_async_script(
            """const [url, options, done] = arguments;
            fetch(url, options).then(async (answer) => done([answer.status, await answer.text()]),
                                     (error) => done(String(error)));""",
            self.url(HOST) + path,
            {"credentials": "include", **options},
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not NGINX:
        pytest.skip("nginx is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="the browser test needs selenium")
    folder = tmp_path_factory.mktemp("network")
    raters = Raters(folder / "raters.json")
    for name, password in PASSWORDS.items():
        raters.add(name, password, owner=name == "owner")
    (folder / "study.json").write_text(study(2, 2).to_json(), encoding="utf-8")
    pair = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={HOST}",
            *pair,
        ],
        check=True,
        capture_output=True,
    )
    arguments = ("--study", folder / "study.json", "--raters", raters.path, "--root-path", "/judge")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in (
        "--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--no-proxy-server",
        "--ignore-certificate-errors", f"--user-data-dir={folder / 'profile'}", "--accept-lang=en-US",
        "--host-resolver-rules=" + ", ".join(f"MAP {host} 127.0.0.1" for host in (HOST, SIBLING, FOREIGN)),
    ):  # fmt: skip
        options.add_argument(switch)
    with judge(folder / "ratings.sqlite", *arguments) as app:
        port = free_port()
        text = CONFIGURATION.format(folder=folder, port=port, page=app.url.rsplit(":", 1)[1], host=HOST)
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        command = [
            NGINX,
            "-p",
            str(folder),
            "-c",
            str(folder / "nginx.conf"),
            "-e",
            str(folder / "error.log"),
        ]
        with subprocess.Popen(command) as proxy:
            try:
                driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
                try:
                    yield Site(app, port, driver, raters)
                finally:
                    driver.quit()
            finally:
                proxy.terminate()


@pytest.mark.slow
@pytest.mark.browser
def test_other_hosts_get_nothing_of_whoever_is_signed_in(site: Site) -> None:
    site.sign_in("owner")
    (cookie,) = [each for each in site.driver.get_cookies() if each["name"].startswith("access-token")]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
        True,
        True,
        "Lax",
        "/judge",
    )
    call = {"method": "POST", "headers": {"Content-Type": "application/json"}}
    results = {**call, "body": '{"data": [{}], "session_hash": "x"}'}
    scores = {**call, "body": '{"data": [{"action": "start"}], "session_hash": "x"}'}
    status, text = site.fetch("gradio_api/run/results", **results)
    assert (status, "m0/tuned" in text) == (200, True)
    assert site.fetch("gradio_api/token")[0] == 403
    form = {"method": "POST", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    login = {**form, "body": "username=anna&password=anna%27s+password"}
    for host in (SIBLING, FOREIGN):
        site.driver.get(site.url(host))
        assert site.driver.title == "elsewhere"
        for path, options in (
            ("gradio_api/token", {}),
            ("config", {}),
            ("gradio_api/run/results", results),
            ("gradio_api/run/desk", scores),
            ("login", login),
            ("logout", {}),
        ):
            assert "Failed to fetch" in str(site.fetch(path, **options)), path
            site.fetch(path, **options, mode="no-cors")
        site.driver.execute_script("location.href = arguments[0]", site.url(HOST) + "logout")
        site.wait(lambda: "answers its own page only" in site.driver.page_source)
        site.driver.get(site.url(HOST))
        assert site.one("a.sign-out")
        assert "owner" in site.fetch("config")[1]
    assert RatingStore(site.app.store).raters("trial") == []


@pytest.mark.slow
@pytest.mark.browser
def test_a_button_and_a_new_password_end_the_session(site: Site) -> None:
    site.driver.get(site.url(HOST))
    site.driver.delete_all_cookies()
    site.sign_in("anna")
    site.one("a.sign-out").click()
    site.one('input[type="password"]')
    assert site.driver.current_url == site.url(HOST)
    site.sign_in("anna")
    site.raters.add("anna", "quite another password")
    answer = site.fetch(
        "gradio_api/run/desk",
        method="POST",
        headers={"Content-Type": "application/json"},
        body='{"data": [{}]}',
    )
    assert answer[0] == 401
    site.driver.refresh()
    site.one('input[type="password"]')


@pytest.mark.slow
def test_the_page_starts_whatever_proxies_there_are() -> None:
    import os

    # Each of them alone stops the import where it is seen.
    proxies = {
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "all_proxy": "socks://127.0.0.1:9",
        "no_proxy": "10.0.0.0/8,[::1]",
    }
    code = f"import os, judge.app; print({{name: os.environ[name] for name in {list(proxies)!r}}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **proxies},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(proxies)


# ------------------------------ what raters see of a service


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (["half \ud83d"], "half ?"),
        (["x" * 40_000], None),
        (ServiceError("http://user:pw@10.0.0.7:8000/v1: HTTP 503: internal"), None),
        (AttributeError("'list' object has no attribute 'get'"), None),
    ],
)
def test_a_service_s_odd_answer_shows_raters_neither_address_nor_error(
    replies: Any, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads: list[dict[str, Any]] = []

    def stream(url: str, payload: dict[str, Any], *, api_key_env: str = "") -> Iterator[str]:
        payloads.append(payload)
        if isinstance(replies, Exception):
            raise replies
        yield from replies

    monkeypatch.setattr(chat, "stream", stream)
    talking = chat.ChatDesk(RatingStore(tmp_path / "r.sqlite"), {"m": "http://user:pw@10.0.0.7:8000/v1"})
    talk, _, trouble = list(talking.say("m", [], "hello"))[-1]
    assert payloads[0]["max_tokens"] == chat.MAX_REPLY_TOKENS
    if expected:
        assert talk[-1]["content"] == expected
    else:
        assert talk == []
        assert "does not answer" in trouble["error"]
        assert not [secret for secret in ("10.0.0.7", "pw", "list") if secret in str(trouble)]


def test_a_link_begins_a_session_behind_a_proxy_under_a_prefix(tmp_path: Path) -> None:
    fastapi = pytest.importorskip("fastapi")
    client = pytest.importorskip("starlette.testclient")
    from judge.entrance import add_entrance

    invitations = Invitations(Raters(tmp_path / "raters.json"))
    token = invitations.invite().token
    application = fastapi.FastAPI()
    add_entrance(application, invitations)
    application.add_middleware(Guard, only_loopback=False, root_path="/judge")
    browser = client.TestClient(application, base_url="https://judge.lab.test", client=("127.0.0.1", 1))
    own = {"X-Forwarded-Proto": "https", "Origin": "https://judge.lab.test"}
    assert browser.get("/judge/invite", headers={"X-Forwarded-Proto": "https"}).status_code == 200
    for junk in (b"", b"[]", b"5", b'{"token": 5}', b"{" * 900, b'{"token": "' + b"x" * 5000):
        assert browser.post("/judge/invite", content=junk, headers=own).status_code in (410, 422)
    answer = browser.post("/judge/invite", json={"token": token}, headers=own)
    assert answer.json() == {"entered": True}
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith(f"access-token-{invitations.cookie_id()}=")
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/judge"} <= set(cookie.split("; "))
    session = cookie.partition("=")[2].partition(";")[0]
    assert invitations.session(session)
    assert browser.post("/judge/invite", json={"token": token}, headers=own).status_code == 410
