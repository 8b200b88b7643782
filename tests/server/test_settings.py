"""Settings: which source counts, what each may say, and what is never shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.search.errors import SearchError
from kernelevolve.search.synthesizers.endpoint import EndpointSettings
from kernelevolve.server.setting_docs import with_reference
from kernelevolve.server.setting_kinds import without_credentials
from kernelevolve.server.setting_table import BY_NAME, SETTINGS, Files
from kernelevolve.server.settings import (
    INTERNAL_VARIABLES,
    KEY_FIELD,
    SettingError,
    Settings,
    state_folder,
    synthesizer_for,
)

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("evaluation", "knowledge", "profilers", "search", "server", "tools", "docs")


class Place:
    """A working directory and a home of their own."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home = folder / "project" / "deep", folder / "home"
        self.project.mkdir(parents=True)
        (self.home / "kernelevolve").mkdir(parents=True)
        self.project_file = folder / "project" / "kernelevolve.toml"
        self.user_file = self.home / "kernelevolve" / "config.toml"

    def settings(self, flags: dict[str, Any] | None = None, **variables: str) -> Settings:
        environment = {"XDG_CONFIG_HOME": str(self.home)}
        environment |= {f"KERNELEVOLVE_{name.upper()}": value for name, value in variables.items()}
        return Settings(flags, environment, self.project)

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KERNELEVOLVE_")}
        environment |= {"XDG_CONFIG_HOME": str(self.home), "COLUMNS": "200"}
        environment |= {f"KERNELEVOLVE_{name.upper()}": value for name, value in variables.items()}
        command = [sys.executable, "-m", "kernelevolve.server", *words]
        return subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_flag_before_environment_before_project_before_user_before_default(place: Place) -> None:
    assert place.settings().resolve("json_logs").source == "default"
    place.user_file.write_text("json_logs = true\nrate = 7\n")
    assert place.settings().resolve("json_logs").source == str(place.user_file)
    place.project_file.write_text("json_logs = false\n")
    found = place.settings().resolve("json_logs")
    assert (found.value, found.source) == (False, str(place.project_file))
    found = place.settings(json_logs="yes").resolve("json_logs")
    assert (found.value, found.source) == (True, "KERNELEVOLVE_JSON_LOGS")
    found = place.settings({"json_logs": False}, json_logs="yes").resolve("json_logs")
    assert (found.value, found.source) == (False, "--json-logs")
    # What the nearer file does not say comes from the farther one.
    assert place.settings().value("rate") == 7.0


def test_an_empty_variable_says_nothing(place: Place) -> None:
    assert place.settings(rate="", database=" ").resolve("rate").source == "default"
    assert place.settings(database="").value("database") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rate", "0"),
        ("rate", "nan"),
        ("burst", "1.5"),
        ("burst", "-1"),
        ("json_logs", "maybe"),
        ("log_level", "loud"),
        ("http", "127.0.0.1"),
        ("http", ":8770"),
        ("http", "host:0"),
        ("allow_host", "a,,b"),
        ("endpoint_retries", "many"),
    ],
)
def test_a_wrong_value_names_its_source_and_what_is_allowed(place: Place, name: str, said: str) -> None:
    setting = BY_NAME[name]
    with pytest.raises(SettingError) as variable:
        place.settings(**{name: said}).check()
    assert setting.variable in str(variable.value)
    assert setting.kind.allowed in str(variable.value)
    if setting.flag is not None:
        with pytest.raises(SettingError, match=setting.flag):
            place.settings({name: said}).check()
    place.user_file.write_text(f"{name} = {json.dumps(said)}\n")
    with pytest.raises(SettingError, match=re.escape(f"{place.user_file}: {name}")):
        place.settings().check()


@pytest.mark.parametrize(("name", "said"), [("burst", "true"), ("rate", "[1]"), ("json_logs", "1"), ("state", "{}")])
def test_a_file_s_value_of_another_type_is_refused(place: Place, name: str, said: str) -> None:
    place.user_file.write_text(f"{name} = {said}\n")
    with pytest.raises(SettingError, match=name):
        place.settings().check()


def test_an_unknown_key_is_refused_with_the_nearest_one(place: Place) -> None:
    place.user_file.write_text("json_log = true\n")
    with pytest.raises(SettingError, match="did you mean 'json_logs'"):
        place.settings()


@pytest.mark.parametrize("content", [b"rate = ", b"\xff\xfe", b"a" * (2 << 20), b"x = " + b"[" * 100_000])
def test_a_file_that_can_t_be_read_is_refused_by_name(place: Place, content: bytes) -> None:
    place.project_file.write_bytes(content)
    with pytest.raises(SettingError, match=re.escape(str(place.project_file))):
        place.settings()


def test_a_project_may_set_nothing_that_matters(place: Place) -> None:
    allowed = {setting.name for setting in SETTINGS if setting.files is Files.ALL}
    for setting in SETTINGS:
        if setting.name in allowed:
            continue
        place.project_file.write_text(f'{setting.name} = "x"\n')
        with pytest.raises(SettingError) as refused:
            place.settings()
        assert setting.variable in str(refused.value)
        assert setting.files is Files.NONE or setting.risk in str(refused.value)
    never = {"database", "endpoint_url", "embedder_url", "http", "allow_host", "allow_origin", "rate", "state"}
    assert not never & allowed


def test_a_project_may_only_turn_a_protection_on(place: Place) -> None:
    place.project_file.write_text("read_only = true\n")
    assert place.settings().value("read_only") is True
    place.user_file.write_text("read_only = true\n")
    place.project_file.write_text("read_only = false\n")
    with pytest.raises(SettingError, match="read_only"):
        place.settings()


def test_each_setting_that_a_project_may_not_set_says_why() -> None:
    assert [s.name for s in SETTINGS if s.files in (Files.OWN, Files.STRICTER) and not s.risk] == []
    assert all(setting.files is Files.NONE for setting in SETTINGS if setting.secret)


@pytest.mark.parametrize("name", ["endpoint_key", "embedder_key"])
def test_keys_are_refused_in_any_file_and_not_repeated(place: Place, name: str) -> None:
    for path in (place.user_file, place.project_file):
        path.write_text(f'{name} = "sk-very-secret"\n')
        with pytest.raises(SettingError) as refused:
            place.settings()
        assert BY_NAME[name].variable in str(refused.value)
        assert "sk-very" not in str(refused.value)
        path.unlink()


@pytest.mark.parametrize(
    "address", ["postgresql+psycopg://me:sesame@db/x", "postgresql://db/x?password=sesame", "postgresql://a:sesame@[x"]
)
def test_a_password_in_a_file_is_refused_and_not_repeated(place: Place, address: str) -> None:
    place.user_file.write_text(f"database = {json.dumps(address)}\n")
    with pytest.raises(SettingError) as refused:
        place.settings()
    assert "KERNELEVOLVE_DATABASE" in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_addresses_are_shown_without_what_may_be_a_password() -> None:
    assert without_credentials("postgresql://me:p@ss@db/x?password=y") == "postgresql://…@db/x?…"
    assert without_credentials("s3://bucket/path") == "s3://bucket/path"


def test_a_user_file_that_others_may_write_is_refused(place: Place) -> None:
    place.user_file.write_text("rate = 5\n")
    place.user_file.chmod(0o666)
    with pytest.raises(SettingError, match="other users"):
        place.settings()


def test_project_files_can_be_turned_off(place: Place) -> None:
    place.project_file.write_text("nonsense = 1\n")
    assert place.settings(project_file="none").files == []


def test_a_relative_path_in_a_file_lies_beside_it(place: Place) -> None:
    place.user_file.write_text('state = "here"\nknowledge = "index"\nobjects = "s3://bucket/x"\n')
    settings = place.settings()
    assert settings.value("state") == place.user_file.parent / "here"
    assert settings.value("knowledge") == str(place.user_file.parent / "index")
    assert settings.value("objects") == "s3://bucket/x"


def test_the_workspace_s_file_counts_for_serve(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.project_file.write_text("json_logs = true\n")
    monkeypatch.chdir(place.home)
    environment = {"XDG_CONFIG_HOME": str(place.home)}
    assert Settings({"workspace": place.project}, environment).value("json_logs") is True
    assert Settings({}, environment).value("json_logs") is False


def test_state_folder_is_a_flag_a_variable_or_the_usual_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("KERNELEVOLVE_STATE", raising=False)
    assert state_folder() == tmp_path / "kernelevolve"
    monkeypatch.setenv("KERNELEVOLVE_STATE", "/elsewhere")
    assert state_folder() == Path("/elsewhere")
    assert state_folder(Path("/flag")) == Path("/flag")


def test_every_field_of_the_endpoint_is_a_setting() -> None:
    fields = {f"endpoint_{field}" for field in EndpointSettings.model_fields if field != KEY_FIELD} | {"endpoint_key"}
    assert fields == {setting.name for setting in SETTINGS if setting.name.startswith("endpoint_")}


def test_the_endpoint_takes_what_a_file_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place.home))
    monkeypatch.chdir(place.home)
    place.user_file.write_text('endpoint_url = "http://localhost:1/v1"\nendpoint_model = "m"\n')
    assert synthesizer_for("endpoint").name
    with pytest.raises(SearchError, match="url"):
        synthesizer_for("endpoint", url="ftp://no")


def test_every_variable_that_the_code_or_the_documents_name_is_known() -> None:
    known = {setting.variable for setting in SETTINGS} | INTERNAL_VARIABLES
    prefixes = {"KERNELEVOLVE_", "KERNELEVOLVE_ENDPOINT_", "KERNELEVOLVE_EMBEDDER_"}
    named = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md"):
                named |= set(re.findall(r"KERNELEVOLVE_[A-Z_]*", path.read_text(encoding="utf-8")))
    assert named - prefixes <= known


def test_the_reference_agrees_with_the_table() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == with_reference(page), "run python -m kernelevolve.server.setting_docs"


def test_the_command_shows_values_and_sources_and_no_secret(place: Place) -> None:
    place.user_file.write_text('rate = 5\nembedder = "none"\n')
    secrets = {"endpoint_key": "sk-very-secret", "database": "postgresql://me:sesame@db/x"}
    done = place.run("settings", "--json", typo="1", **secrets)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    entries = {entry["name"]: entry for entry in found["settings"]}
    assert set(entries) == set(BY_NAME)
    assert (entries["rate"]["value"], entries["rate"]["source"]) == (5.0, str(place.user_file))
    # Handed down to the layers that read the environment, and still said to come from the file.
    assert (entries["embedder"]["value"], entries["embedder"]["source"]) == ("none", str(place.user_file))
    assert (entries["endpoint_key"]["value"], entries["endpoint_key"]["is_set"]) == (None, True)
    assert entries["embedder_key"]["is_set"] is False
    assert any("KERNELEVOLVE_TYPO" in note for note in found["notes"])
    shown = place.run("settings", **secrets)
    assert "postgresql://…@db/x" in shown.stdout
    for text in (done.stdout, done.stderr, shown.stdout, shown.stderr):
        assert "sk-very" not in text
        assert "sesame" not in text


def test_a_wrong_setting_ends_any_command_with_a_sentence(place: Place) -> None:
    place.project_file.write_text('endpoint_url = "http://evil.example/v1"\n')
    for words in (("settings", "--json"), ("serve",), ("search", "list")):
        done = place.run(*words)
        assert done.returncode == 2
        assert "a project's file may not set endpoint_url" in done.stderr
        assert "Traceback" not in done.stderr
        assert not done.stdout


def test_a_wrong_setting_of_the_server_leaves_other_commands_alone(place: Place) -> None:
    assert place.run("search", "list", rate="0", state=str(place.home / "state")).returncode == 0
    done = place.run("serve", rate="0", state=str(place.home / "state"))
    assert done.returncode == 2
    assert "KERNELEVOLVE_RATE is '0', which is not a number from 0.01" in done.stderr


def test_a_working_directory_that_is_gone_is_no_reason_to_fail(place: Place) -> None:
    command = (
        f"cd {place.project} && rmdir {place.project} && exec {sys.executable} -m kernelevolve.server"
        f" search list --json --state {place.home}/state"
    )
    environment = {**os.environ, "XDG_CONFIG_HOME": str(place.home)}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_workspace_that_is_not_there_is_named_with_its_source(place: Place) -> None:
    done = place.run("serve", "--http", "127.0.0.1:1", workspace="/no/such/folder", state=str(place.home / "state"))
    assert done.returncode == 2
    assert "/no/such/folder (KERNELEVOLVE_WORKSPACE)" in done.stderr


def test_a_flag_can_turn_off_what_a_file_turns_on(place: Place) -> None:
    place.user_file.write_text("read_only = true\n")
    assert place.settings({"read_only": False}).value("read_only") is False
    assert "--no-read-only" in place.run("serve", "--help").stdout


def test_layers_under_the_server_hear_what_a_file_says(place: Place) -> None:
    place.user_file.write_text('embedder = "minilmm"\n')
    done = place.run("docs", "tl.dot", state=str(place.home / "state"))
    assert "'minilmm'" in done.stderr
    assert "Did you mean 'minilm'" in done.stderr
