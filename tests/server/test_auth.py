"""Keys at rest, tokens, origins, and who may be served at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.datastructures import Headers, QueryParams

from realtime.errors import BadOption, Unauthorized
from realtime.server.auth import TOKEN_S, Gatekeeper, KeyStore, check_exposure

NO_QUERY = QueryParams("")


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "data")


def test_a_key_is_never_stored(store: KeyStore, tmp_path: Path) -> None:
    key = store.add("desk")
    assert key not in (tmp_path / "data" / "keys.json").read_text(encoding="utf-8")
    assert (tmp_path / "data" / "keys.json").stat().st_mode & 0o077 == 0
    assert store.check(key) == store.records()[0].id


def test_a_revoked_key_opens_nothing(store: KeyStore) -> None:
    key = store.add("desk")
    store.revoke(store.records()[0].id)
    with pytest.raises(Unauthorized):
        store.check(key)
    with pytest.raises(BadOption):
        store.revoke("nobody")


def test_another_process_may_add_keys(store: KeyStore, tmp_path: Path) -> None:
    other = KeyStore(tmp_path / "data")
    key = other.add("late")
    assert store.check(key) == other.records()[0].id


def test_a_damaged_file_is_told(store: KeyStore, tmp_path: Path) -> None:
    store.add("desk")
    (tmp_path / "data" / "keys.json").write_text('[{"id": 1}]', encoding="utf-8")
    with pytest.raises(BadOption, match="damaged"):
        KeyStore(tmp_path / "data")


def test_tokens_expire_and_can_not_be_forged(store: KeyStore) -> None:
    store.add("page")
    key_id = store.records()[0].id
    token, seconds = store.issue_token(key_id, now=1000.0)
    assert seconds == TOKEN_S
    assert store.check_token(token, now=1000.0 + TOKEN_S - 1) == key_id
    with pytest.raises(Unauthorized, match="expired"):
        store.check_token(token, now=1000.0 + TOKEN_S + 1)
    expiry, rest = token.split(".", 1)
    for forged in (f"{int(expiry) + 9999}.{rest}", token[:-1] + ("0" if token[-1] != "0" else "1"), "", "..", "x.y.z"):
        with pytest.raises(Unauthorized):
            store.check_token(forged, now=1000.0)


def test_a_token_dies_with_its_key(store: KeyStore) -> None:
    store.add("page")
    token, _ = store.issue_token(store.records()[0].id)
    store.revoke(store.records()[0].id)
    with pytest.raises(Unauthorized, match="revoked"):
        store.check_token(token)


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "xi-api-key"])
def test_every_way_to_send_a_key(store: KeyStore, header: str) -> None:
    key = store.add("desk")
    keeper = Gatekeeper(store, is_open=False)
    value = f"Bearer {key}" if header == "authorization" else key
    assert keeper.identify(Headers({header: value}), NO_QUERY) == store.records()[0].id
    with pytest.raises(Unauthorized):
        keeper.identify(Headers({header: value + "x"}), NO_QUERY)


def test_without_keys_loopback_is_open_and_with_keys_it_is_not(store: KeyStore) -> None:
    keeper = Gatekeeper(store, is_open=True)
    assert keeper.identify(Headers({}), NO_QUERY) == ""
    store.add("desk")
    with pytest.raises(Unauthorized, match="API key is needed"):
        keeper.identify(Headers({}), NO_QUERY)


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [(None, True), ("http://127.0.0.1:7860", True), ("https://voice.example", True), ("http://evil.example", False), ("null", False)],
)
def test_only_own_and_named_pages_may_connect(store: KeyStore, origin: str | None, is_allowed: bool) -> None:
    keeper = Gatekeeper(store, True, ("https://voice.example",))
    headers = Headers({"host": "127.0.0.1:7860"} | ({"origin": origin} if origin else {}))
    if is_allowed:
        keeper.check_origin(headers)
    else:
        with pytest.raises(Unauthorized, match="allowed_origins"):
            keeper.check_origin(headers)


def test_strangers_are_not_served_by_accident(store: KeyStore) -> None:
    check_exposure("127.0.0.1", store, {})
    with pytest.raises(BadOption, match="keys add"):
        check_exposure("0.0.0.0", store, {})
    check_exposure("0.0.0.0", store, {"insecure": True})
    with pytest.raises(BadOption, match="allow-faults"):
        check_exposure("0.0.0.0", store, {"insecure": True, "allow_faults": True})
    store.add("desk")
    check_exposure("0.0.0.0", store, {})
