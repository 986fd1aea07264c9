"""What would go wrong in a run: every finding once, with its remedy.

Nothing is started, loaded or downloaded; what was asked of installed tools before comes from the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bakeoff.doctor import comparability
from bakeoff.doctor.data import check_datasets, check_models, check_suites, template_of
from bakeoff.doctor.finding import (
    LEVELS,
    Finding,
    Level,
    Visit,
    merged,
)
from bakeoff.doctor.hubs import check_hubs
from bakeoff.doctor.machine import check_devices, check_disk, check_network
from bakeoff.doctor.names import check_environments, check_tools
from bakeoff.doctor.tools import check_packages, check_prompts, check_remote_code, check_tokens
from bakeoff.environments.building import built
from bakeoff.environments.installed import (
    Installed,
    cache_file,
    installed,
)
from bakeoff.foundation.sentences import Template, joined
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.schema import Matrix, ModelSpec

COMPARABILITY = Template("doctor.doctor.comparability", "comparability", zh="可比性")
LACKS = Template("doctor.doctor.lacks", "a full-size row has {lacks}", zh="正式模型行{lacks}")
NO_SUITES = Template(
    "doctor.doctor.no_suites",
    "no suites: it is trained and served, and compared with nothing",
    zh="没有测试集（suites）：只训练和部署，不参与任何比较",
)
NO_NEEDS = Template(
    "doctor.doctor.no_needs", "no needs: it runs on the CPU", zh="没有 needs：将在 CPU 上运行"
)
NO_ENGINE = Template(
    "doctor.doctor.no_engine",
    "no serving engine: transformers, with {count} requests at once",
    zh="没有指定部署引擎：使用 transformers，并发请求数为 {count}",
)
GIVE_THEM = Template(
    "doctor.doctor.give_them",
    "give suites: […], needs: {{gpu_memory_gib: …}} and serving: {{engine: …}} in the row or under groups.full",
    zh="在该行或 groups.full 中写明 suites: […]、needs: {{gpu_memory_gib: …}} 和 serving: {{engine: …}}",
)
BUILT_IN = Template(
    "doctor.doctor.built_in",
    "starts from the built-in group 'full': a card with {gib:g} GiB free, {engine} in the environment {environment!r}, "
    "batches of {batch} x {accumulation} (docs/matrix.md has all of it)",
    zh="以内置组 full 为起点：需要一块空闲 {gib:g} GiB 的 GPU，在环境 {environment!r} 中用 {engine} 部署，"
    "批大小 {batch} × {accumulation}（全部设置见 docs/matrix.md）",
)
ROW_FIRST = Template(
    "doctor.doctor.row_first",
    "what the row says comes first; to start from nothing, write 'groups: {{full: {{}}}}'",
    zh="该行自己的设置优先；如不需要内置设置，请写 groups: {{full: {{}}}}",
)
DIFFERS = Template("doctor.doctor.differs", "{difference}; {why}", zh="{difference}；{why}")
SAME_OR_WHY = Template(
    "doctor.doctor.same_or_why",
    "give the rows the same, or say why they differ",
    zh="请统一各行的设置，或说明为何不同",
)
THE_GUIDE = Template("doctor.doctor.the_guide", "the guide: {intended}", zh="指南的设定：{intended}")


def findings(visit: Visit, *, elsewhere: bool = False) -> list[Finding]:
    """Everything that would go wrong for the rows of a *visit*, errors first.

    Args:
        elsewhere: the rows run on a cluster, so this machine needs no cards.
    """
    checks = [check for check in _CHECKS if not (elsewhere and check is check_devices)]
    every = [finding for check in checks for finding in check(visit)]
    return sorted(
        merged(every, [row.name for row in visit.rows]), key=lambda finding: LEVELS.index(finding.level)
    )


def traps(rows: Sequence[ModelSpec]) -> list[Finding]:
    """What full-size rows omit or take by default, whatever the machine."""
    noticed = []
    for row in rows:
        if row.group != "full" or row.url or row.tiny or row.suites:
            continue
        lacks = [NO_SUITES()]
        if row.on_cpu:
            lacks.append(NO_NEEDS())
        if "engine" not in row.serving.model_fields_set:
            lacks.append(NO_ENGINE(count=row.serving.in_flight))
        noticed.append(Finding("warning", row.name, LACKS(lacks=joined(lacks)), GIVE_THEM()))
    return merged(noticed, [row.name for row in rows])


def presets_taken(rows: Sequence[str], matrix: Matrix) -> list[Finding]:
    """What rows take from the built-in group ``full``."""
    taken = [name for name in rows if matrix.built_in.get(name) == "full"]
    noted = []
    for name in taken:
        row = matrix.models[name]
        noted.append(
            Finding(
                "note",
                name,
                BUILT_IN(
                    gib=row.needs.gpu_memory_gib,
                    engine=row.serving.engine,
                    environment=row.environment.serve,
                    batch=row.training.batch_size,
                    accumulation=row.training.gradient_accumulation,
                ),
                ROW_FIRST(),
            )
        )
    return merged(noted, taken)


def _comparability(visit: Visit) -> Iterator[Finding]:
    for difference in _by_group(visit.rows, visit.tools):
        what = DIFFERS(difference=difference.statement, why=difference.why_it_matters)
        intended = THE_GUIDE(intended=difference.intended) if difference.intended else SAME_OR_WHY()
        yield Finding("warning", COMPARABILITY(), what, intended)


def known_differences(
    rows: Sequence[ModelSpec], matrix: Matrix, workspace: Workspace
) -> list[comparability.Difference]:
    """Differences between *rows*, from what is cached about their tools."""
    tools = {}
    for name in {row.environment.train for row in rows}:
        environment = built(matrix.environments[name], workspace.environments)
        if environment and cache_file(environment, workspace.cache).exists():
            tools[name] = installed(environment, workspace.cache)
    return _by_group(rows, tools)


def _by_group(rows: Sequence[ModelSpec], tools: Mapping[str, Installed]) -> list[comparability.Difference]:
    """Tiny rows stand in for full ones: they are never compared with them."""
    groups = dict.fromkeys(row.group for row in rows)
    alike = [[row for row in rows if row.group == group] for group in groups]
    return [difference for some in alike for difference in differences(some, tools)]


def differences(rows: Sequence[ModelSpec], tools: Mapping[str, Installed]) -> list[comparability.Difference]:
    """Differences between *rows*, templates and trainers included."""
    systems: dict[str, str | None] = {}
    trainers: dict[str, str] = {}
    for row in rows:
        tool = tools.get(row.environment.train)
        if not tool or row.url:
            continue
        if row.trains:
            trainers[row.name] = tool.swift
        if template := template_of(row, tool):
            systems[row.name] = tool.templates[template]
    return comparability.differences(rows, default_systems=systems, trainers=trainers)


_CHECKS: tuple[Callable[[Visit], Iterator[Finding]], ...] = (
    check_environments,
    check_tools,
    check_remote_code,
    check_packages,
    check_devices,
    check_disk,
    check_models,
    check_datasets,
    check_hubs,
    check_suites,
    check_network,
    check_tokens,
    check_prompts,
    _comparability,
)

__all__ = ["Finding", "Level", "differences", "findings", "known_differences", "traps"]
