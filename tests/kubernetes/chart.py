"""Renders the chart, and validates what it renders. Reads requests from standard input as a JSON object, and writes a
JSON object with results:

    lint    charts with their values: what `helm lint --strict` reports
    render  charts with their values: for each the texts by template, the objects, and the configurations of the
            gateway, or the error
    valid   objects: what is wrong with them, for several versions of Kubernetes
    files   paths of manifests: the same for the objects in them
    yaml    texts by name: what yamllint reports
    values  the path of a values.schema.json: values.yaml and a Markdown table that say the same
"""

import contextlib
import functools
import io
import json
import sys
import textwrap

import helm_python as helm
import kubernetes_validate
import yaml
from kubernetes_validate import utils
from yamllint import linter
from yamllint.config import YamlLintConfig

VERSIONS = ["1.29", "1.34", utils.latest_version()]
WIDTH = 120

utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def values_of(request):
    """The values of a request, or those of the file that it names."""
    if isinstance(request["values"], dict):
        return request["values"]
    with open(request["values"], encoding="utf-8") as file:
        return yaml.safe_load(file)


def lint(request):
    report = helm.lint(request["chart"], values_of(request), strict=True)
    return [f"{message['path']}: {message['error']}" for message in report["messages"] if message["severity"] > 1]


def objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


def render(request):
    name, namespace = request.get("release", "sessiongate"), request.get("namespace", "default")
    try:
        with helm.Chart.load(request["chart"]) as chart:
            texts = chart.render(values=values_of(request), name=name, namespace=namespace)
    except helm.HelmError as error:
        return {"error": str(error)}
    found = [document for path, text in sorted(texts.items()) if path.endswith(".yaml") for document in objects(text)]
    config = [yaml.safe_load(one["data"]["sessiongate.yaml"]) for one in found if "sessiongate.yaml" in one.get("data", {})]
    return {"texts": texts, "objects": found, "config": config}


def problems(document):
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except utils.SchemaNotFoundError:
            return ["unknown kind"]
        except utils.ValidationError as error:
            place = ".".join(str(part) for part in error.path)
            found.append(f"Kubernetes {version}: {place}: {error.message}")
    return found


def problems_in_file(path):
    with open(path, encoding="utf-8") as file:
        found = [problem for document in objects(file) for problem in problems(document) if problem != "unknown kind"]
    return [f"{path}: {problem}" for problem in found]


def lint_yaml(texts):
    config = YamlLintConfig(file="tests/kubernetes/yamllint.yaml")
    return [
        f"{name}:{problem.line}: {problem.desc}"
        for name, text in texts.items()
        for problem in linter.run(text, config)
        if problem.level == "error"
    ]


def comment(text, indent):
    begin = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=begin, subsequent_indent=begin, break_on_hyphens=False)


def flow(value):
    """A default on one line, in the style of the other files."""
    if isinstance(value, dict) and value:
        return "{ " + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(flow(one) for one in value) + "]"
    return json.dumps(value)


def values_file(properties, indent=""):
    lines = []
    for name, schema in properties.items():
        if lines and not indent:
            lines.append("")
        lines.extend(comment(schema["description"], indent))
        if "properties" in schema and name != "config":
            lines.append(f"{indent}{name}:")
            lines.extend(values_file(schema["properties"], indent + "  "))
        else:
            lines.append(f"{indent}{name}: {flow(schema.get('default', {}))}")
    return lines


def table(properties, prefix=""):
    rows = []
    for name, schema in properties.items():
        text = schema["description"]
        if "properties" in schema and name != "config":
            rows.append([f"`{prefix}{name}`", text, ""])
            rows.extend(table(schema["properties"], f"{prefix}{name}."))
        else:
            rows.append([f"`{prefix}{name}`", text, f"`{flow(schema.get('default', {}))}`"])
    return rows


def values(path):
    with open(path, encoding="utf-8") as file:
        properties = json.load(file)["properties"]
    about = "The configuration of the gateway: the file itself, see config/example.yaml. Required: `upstreams`."
    properties["config"] = {"description": about}
    head = comment("Written by `tests/run --write` from values.schema.json, which validates all values.", "")
    text = "\n".join(head + [""] + values_file(properties)) + "\n"
    return {"file": text, "rows": table(properties)}


def main():
    requests = json.load(sys.stdin)
    # The engine logs to standard error.
    with contextlib.redirect_stderr(io.StringIO()):
        results = {
            "lint": [lint(request) for request in requests.get("lint", [])],
            "render": [render(request) for request in requests.get("render", [])],
            "valid": [problems(document) for document in requests.get("valid", [])],
            "files": [problem for path in requests.get("files", []) for problem in problems_in_file(path)],
            "yaml": lint_yaml(requests.get("yaml", {})),
        }
        if "values" in requests:
            results["values"] = values(requests["values"])
    json.dump(results, sys.stdout)


main()
