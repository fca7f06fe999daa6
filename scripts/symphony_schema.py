#!/usr/bin/env python3
"""Print the JSON Schema of the configuration, for editors to complete and check it.

Example: symphony_conductor.py schema --drop-in

A schema judges each value by itself. Whether a cron expression is valid, or a time zone or a
dependency exists, only `check` can tell.
"""

import argparse
import json
import os
import re
import sys
from typing import Any, Dict

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import symphony_conductor as sc  # noqa: E402

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "config")
MAIN_FILE = sc.SCHEMA_FILE
DROP_IN_FILE = "tasks.d.schema.json"
SCHEMA_FIELD = dict(sc.TEXT, description="the JSON Schema of this file, for editors")


def plain(markdown: str) -> str:
    """A cell of a table as a line of plain text."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "").strip()


def descriptions(manual: str) -> "Dict[str, Dict[str, str]]":
    """What the tables of config/README.md say of each field and each setting."""
    texts: "Dict[str, Dict[str, str]]" = {"field": {}, "setting": {}}
    kind = ""
    for line in manual.splitlines():
        head = re.match(r"\| (field|setting) \| default \| meaning \|", line)
        row = re.match(r"\| `(\w+)` \|.*?(?<!\\)\| (.*) \|$", line)
        if head:
            kind = head.group(1)
        elif not line.startswith("|"):
            kind = ""
        elif kind and row:
            texts[kind][row.group(1)] = plain(row.group(2))
    return texts


def or_null(schema: "Dict[str, Any]") -> "Dict[str, Any]":
    """This schema, and null."""
    if "anyOf" in schema:
        return dict(schema, anyOf=schema["anyOf"] + [{"type": "null"}])
    schema = dict(schema, type=[schema["type"], "null"])
    if "enum" in schema:
        schema["enum"] = schema["enum"] + [None]
    return schema


def field_schema(rule: "sc.Rule", values: "Any", texts: "Dict[str, str]") -> "Dict[str, Any]":
    """The schema of one field, whose default is an attribute of `values`."""
    schema: "Dict[str, Any]" = {"description": texts.get(rule.key, rule.allowed)}
    schema.update(or_null(rule.schema) if rule.null else rule.schema)
    default = getattr(values, rule.key)
    if default is None or default == "" and rule.null:
        default = None
    if not rule.required and (default is not None or rule.null):
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def definitions() -> "Dict[str, Any]":
    """The schemas of a task, of the settings and of what a drop-in holds."""
    try:
        with open(os.path.join(FOLDER, "README.md"), encoding="utf-8") as handle:
            texts = descriptions(handle.read())
    except FileNotFoundError:
        texts = descriptions("")
    fields = {key: field_schema(rule, sc.Task, texts["field"])
              for key, rule in sc.TASK_RULES.items()}
    settings = {key: field_schema(rule, sc.Config, texts["setting"])
                for key, rule in sc.SETTING_RULES.items()}
    shared = {key: {"$ref": "#/$defs/task/properties/" + key} for key in sc.DEFAULT_RULES}
    settings["defaults"].update(properties=shared, additionalProperties=False)
    task = {"type": "object", "properties": dict({sc.SCHEMA_KEY: SCHEMA_FIELD}, **fields),
            "required": ["name"], "additionalProperties": False}
    return {
        "task": task,
        "settings": {
            "type": "object", "properties": settings, "additionalProperties": False}}


def main_schema() -> "Dict[str, Any]":
    """The schema of config/conductor_config.json."""
    defaults_command = {"required": ["settings"], "properties": {"settings": {
        "required": ["defaults"], "properties": {"defaults": {"required": ["command"]}}}}}
    return {
        "$schema": DIALECT, "title": "Configuration of Symphony Conductor",
        "type": "object", "additionalProperties": False,
        "properties": {
            sc.SCHEMA_KEY: SCHEMA_FIELD,
            "tasks": {"type": "array", "items": {"$ref": "#/$defs/task"},
                      "description": "what is run, and when"},
            "settings": {"$ref": "#/$defs/settings",
                         "description": "what holds for all tasks"}},
        # A task has a command of its own, unless the settings have one for all.
        "if": {"not": defaults_command},
        "then": {"properties": {"tasks": {"items": {"required": ["command"]}}}},
        "$defs": definitions()}


def drop_in_schema() -> "Dict[str, Any]":
    """The schema of a file in config/tasks.d/: a task, or a list of tasks.

    A command is not required: the settings, which stand in another file, may have one for all.
    """
    task = definitions()["task"]
    return {
        "$schema": DIALECT, "title": "Tasks of Symphony Conductor",
        "anyOf": [{"$ref": "#/$defs/task"},
                  {"type": "array", "items": {"$ref": "#/$defs/task"}}],
        "$defs": {"task": task}}


def schema_text(schema: "Dict[str, Any]") -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2) + "\n"


FILES = {MAIN_FILE: main_schema, DROP_IN_FILE: drop_in_schema}


def cmd_schema(store: "sc.Store", args: "argparse.Namespace") -> int:
    """Print one of the schemas, or write or check the files that hold them."""
    if args.write:
        for name, made in FILES.items():
            with sc.doing("write", name), open(os.path.join(FOLDER, name), "w") as handle:
                handle.write(schema_text(made()))
        return sc.EXIT_OK
    if args.check:
        old = [name for name, made in FILES.items() if _content(name) != schema_text(made())]
        if old:
            raise sc.ConductorError("not current: %s" % ", ".join(old), "run schema --write")
        return sc.EXIT_OK
    made = drop_in_schema if args.drop_in else main_schema
    sc.print_line(schema_text(made()), end="")
    return sc.EXIT_OK


def _content(name: str) -> str:
    try:
        with open(os.path.join(FOLDER, name), encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""


OPTIONS = ([
    sc.option("--drop-in", action="store_true", help="print the schema of the files in"
              " config/tasks.d/ (default: that of config/conductor_config.json)"),
    sc.option("--write", action="store_true", help="write both into config/, beside this program"),
    sc.option("--check", action="store_true",
              help="exit 1 if the files in config/ are out of date")],)


if __name__ == "__main__":
    sc.command_beside(__doc__, OPTIONS, cmd_schema)
