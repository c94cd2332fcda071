"""Credentials stay out of messages, and what is no credential stays in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gansynth
from gansynth.cli import run
from gansynth.errors import InputError
from gansynth.mirror import Mirror
from gansynth.redaction import holds_password, reason, without_secrets
from gansynth.store import Store


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://AKIAX12345:abc/defSECRETghi@bucket/ds", "s3://bucket/ds"),
        ("s3://AKIAX12345:12/defSECRETghi@bucket/ds", "s3://bucket/ds"),
        ("sftp://me:p@ss@host/x", "sftp://host/x"),
        ("sftp://me@host/x", "sftp://host/x"),
        ("https://token@host/x?sig=SECRET", "https://host/x"),
        ("https://host:8080/a@b.zip", "https://host:8080/a@b.zip"),
        ("s3://bucket/some:thing@else", "s3://bucket/some:thing@else"),
        ("abfs://container@account.dfs.core.windows.net/ds", "abfs://container@account.dfs.core.windows.net/ds"),
        ("abfss://container:SECRET@account/ds", "abfss://account/ds"),
        ("az://container@account/ds?sv=1&sig=SECRET", "az://container@account/ds"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_secrets(f"nothing at {url} yet") == f"nothing at {shown} yet"


SECRET_TEXT = st.text("abcXYZ019+/=", min_size=6, max_size=40)


@given(user=st.from_regex(r"[A-Z0-9]{8,20}", fullmatch=True), secret=SECRET_TEXT)
def test_no_secret_of_amazons_is_shown_escaped_or_not(user: str, secret: str) -> None:
    url = f"s3://{user}:{secret}@bucket/ds"
    assert holds_password(url) and without_secrets(url) == "s3://bucket/ds"
    told = reason(ValueError(f"no bucket {user}:{secret.partition('/')[0]}, with {secret}"), url)
    assert user not in told and secret not in told


def test_a_command_tells_nothing_of_a_secret_that_is_not_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "s3://AKIAX12345:abc/defSECRETghi@bucket/ds"]) == 2
    told = capsys.readouterr().err
    assert "s3://bucket/ds" in told
    assert not [secret for secret in ("AKIAX12345", "abc", "defSECRETghi") if secret in told.partition("Bucket")[0]]


def test_a_container_of_azures_is_no_secret() -> None:
    url = "abfs://container@account.dfs.core.windows.net/ds"
    assert not holds_password(url)
    assert "container" in reason(ValueError("the container container does not exist"), url)


@pytest.mark.parametrize(
    "url", ["memory://me:hunter22@host/x", "s3://AKIAX12345:abc/hunter22@bucket/x", "https://hunter22@host/x"]
)
def test_a_url_with_a_password_is_not_mirrored(url: str) -> None:
    with pytest.raises(InputError, match="holds a password") as caught:
        Mirror(url)
    assert "hunter22" not in str(caught.value)


def test_a_url_with_a_container_is_mirrored() -> None:
    Store("memory://container@account/made").publish("a", b"1")
    assert (Mirror("memory://container@account/made").pull() / "a").read_bytes() == b"1"


def test_a_dataset_to_start_from_is_not_named_with_a_password() -> None:
    about = {"from": "s3://AKIAX12345:abc/hunter22@bucket/ds", "sigma": 0.1, "count": 2}
    with pytest.raises(InputError, match="s3://bucket/ds is given with a password") as caught:
        gansynth.plan(gansynth.Recipe.parse({"name": "near", "vary": about}))
    assert "hunter22" not in str(caught.value)
