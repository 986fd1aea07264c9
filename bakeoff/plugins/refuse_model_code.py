"""Keeps Python code that lies beside a model's weights from running, for rows without ``trust_remote_code: true``.

ms-swift loads every model with ``trust_remote_code=True``. Since 4.0 its loader can be told otherwise, so that
transformers takes its own code for a model that it knows. Under every version the one function through which
transformers imports such code refuses.
"""

from __future__ import annotations

from typing import Any, NoReturn


def refuse_model_code() -> None:
    """From now on no code of a model's own is imported in this process."""
    from transformers import dynamic_module_utils

    def refuse(class_name: str, module_path: Any, *_: Any, **__: Any) -> NoReturn:
        raise PermissionError(
            f"{class_name} in {module_path} is code that came with the model, and this row does not run such code: "
            "say 'trust_remote_code: true' in the matrix if you trust it"
        )

    dynamic_module_utils.get_class_in_module = refuse
    try:
        from swift.model.register import ModelLoader  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:  # before ms-swift 4
        return
    ModelLoader.default_trust_remote_code = False


if __name__ != "bakeoff.plugins.refuse_model_code":  # ms-swift 4.6 names it by a hash
    refuse_model_code()
