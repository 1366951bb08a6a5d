#!/usr/bin/env python3
"""Checks that queries name only what the gateway exports, and use it as what it is.

    check_queries.py RULES.yaml… [QUERIES.json…] < METRICS.json

RULES.yaml    Prometheus rule files, and tests of them for promtool, whose series are checked. Queries of the later files
              may use what the earlier ones record.
QUERIES.json  a dashboard of Grafana, or a list of {"where": …, "expr": …}
METRICS.json  [{"name": …, "type": "counter|gauge|histogram", "labels": {"NAME": [VALUES] or null if they are open}}]

Every expression is parsed. Metrics, labels and values of closed labels must exist; `by`, `on` and `group_left` may name
only labels that their operands have; two vectors must have the same labels, or say which they are matched by; counters
need `rate` or `increase`, and gauges must not have it. A recorded metric begins with the labels that it has. An alert
has the labels and annotations that CONTRIBUTING.md describes, and its texts use only labels that it has.

Prints one line for each error, and exits with 1 if there is any.
"""

import json
import re
import sys

import promql_parser as promql
import yaml

# Every scrape adds these two.
TARGET = frozenset({"job", "instance"})
OF_COUNTERS = {"rate", "increase", "irate", "resets"}
# These count samples, or changes of a value: they suit any type.
OF_ANY = {"count_over_time", "changes", "present_over_time", "absent_over_time", "last_over_time"}
KEEP_LABELS = {"topk", "bottomk", "limitk", "limit_ratio"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
SET_OPERATORS = {"and", "or", "unless"}
SEVERITIES = {"page", "ticket"}
COMPONENTS = {"gateway", "provider", "issuer", "store", "configuration", "clients", "monitoring"}
RUNBOOKS = "https://sessiongate.example/docs/runbooks/"
LITERALS = re.compile(r"[\w.|]*")


class Metric:
    def __init__(self, kind, labels):
        # `kind` is None for what is recorded: it is a rate or a gauge already.
        self.kind = kind
        # Label to its values; None if they are open.
        self.labels = labels


class Checker:
    def __init__(self, table):
        self.errors = []
        self.where = ""
        self.metrics = {"up": Metric("gauge", {})}
        for row in table:
            kind, labels = row["type"], row["labels"]
            if kind == "histogram":
                self.metrics[row["name"] + "_bucket"] = Metric("counter", {**labels, "le": None})
                self.metrics[row["name"] + "_sum"] = Metric("counter", labels)
                self.metrics[row["name"] + "_count"] = Metric("counter", labels)
            else:
                self.metrics[row["name"]] = Metric(kind, labels)

    def error(self, text):
        self.errors.append(f"{self.where}: {text}")

    def find(self, name):
        if name.startswith("process_"):
            return Metric("counter" if name.endswith("_total") else "gauge", {})
        return self.metrics.get(name)

    def query(self, where, text):
        """The labels of the result; None if they are unknown."""
        self.where = where
        try:
            return self.labels(promql.parse(text))
        except ValueError as error:
            self.error(f"{error}: {text}")
            return None

    def labels(self, expr, within=None):
        """The labels of an expression, `within` a function over a range; None if they are unknown."""
        match expr:
            case promql.NumberLiteral() | promql.StringLiteral():
                return frozenset()
            case promql.ParenExpr() | promql.UnaryExpr():
                return self.labels(expr.expr, within)
            case promql.SubqueryExpr():
                return self.labels(expr.expr)
            case promql.MatrixSelector():
                return self.selector(expr.vector_selector, within)
            case promql.VectorSelector():
                return self.selector(expr, within)
            case promql.AggregateExpr():
                return self.aggregate(expr)
            case promql.BinaryExpr():
                return self.binary(expr)
            case promql.Call():
                return self.call(expr)
        self.error(f"cannot check {type(expr).__name__}")
        return None

    def selector(self, expr, within):
        metric = self.find(expr.name or "")
        if metric is None:
            self.error(f"no metric {expr.name}")
            return None
        if metric.kind == "counter" and within not in OF_COUNTERS | OF_ANY:
            self.error(f"{expr.name} is a counter: use rate or increase")
        if metric.kind == "gauge" and within in OF_COUNTERS:
            self.error(f"{expr.name} is a gauge: {within} is for counters")
        for matcher in expr.matchers.matchers:
            if matcher.name in TARGET:
                continue
            if matcher.name not in metric.labels:
                self.error(f"{expr.name} has no label {matcher.name}")
            else:
                self.values(expr.name, matcher, metric.labels[matcher.name])
        return frozenset(metric.labels) if metric.kind is None else TARGET.union(metric.labels)

    def values(self, name, matcher, closed):
        """Checks the value of a matcher against the values of its label."""
        # A variable of Grafana stands for some of them.
        if closed is None or matcher.value == "" or "$" in matcher.value:
            return
        if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
            unknown = {matcher.value} - set(closed)
        elif LITERALS.fullmatch(matcher.value):
            unknown = set(matcher.value.split("|")) - set(closed)
        else:
            unknown = {
                one for one in matcher.value.split("|") if not any(re.fullmatch(one, value) for value in closed)
            }
        for value in sorted(unknown):
            self.error(f"{name}: {matcher.name} is never {value}")

    def named(self, labels, of, what):
        """Labels that a query names, which must be among those of its operand."""
        if of is not None:
            for label in sorted(set(labels) - of):
                self.error(f"{what} ({label}): the operand has no such label")
        return frozenset(labels)

    def aggregate(self, expr):
        inner = self.labels(expr.expr)
        modifier = expr.modifier
        if str(expr.op) in KEEP_LABELS:
            return inner
        if modifier is None:
            return frozenset()
        if modifier.type == promql.AggModifierType.By:
            return self.named(modifier.labels, inner, "by")
        self.named(modifier.labels, inner, "without")
        return None if inner is None else inner - set(modifier.labels)

    def call(self, expr):
        name = expr.func.name
        arguments = [self.labels(argument, name) for argument in expr.args]
        if name == "histogram_quantile":
            inner = self.named({"le"}, arguments[1], "histogram_quantile") and arguments[1]
            return None if inner is None else inner - {"le"}
        if name in ("absent", "absent_over_time", "scalar", "time", "vector", "label_replace", "label_join"):
            return None if name.startswith(("absent", "label")) else frozenset()
        return next((labels for labels in arguments if labels != frozenset()), frozenset())

    def binary(self, expr):
        left, right = self.labels(expr.lhs), self.labels(expr.rhs)
        if is_scalar(expr.lhs) or is_scalar(expr.rhs):
            return right if is_scalar(expr.lhs) else left
        modifier, operator = expr.modifier, str(expr.op)
        matching = modifier.matching if modifier else None
        if matching is None:
            if left is not None and right is not None and left != right and operator != "or":
                self.error(f"{operator}: {sorted(left)} never matches {sorted(right)}: use on")
            return left if operator != "or" or left is None or right is None else left | right
        self.named(matching.labels, left, str(matching.type).rsplit(".")[-1])
        self.named(matching.labels, right, str(matching.type).rsplit(".")[-1])
        if operator in SET_OPERATORS or operator in COMPARISONS:
            return left
        if modifier.card == promql.VectorMatchCardinality.ManyToOne:
            return None if left is None else left | set(modifier.group_labels or ())
        if modifier.card == promql.VectorMatchCardinality.OneToMany:
            return right
        return frozenset(matching.labels) if matching.type == promql.LabelModifierType.Include else left

    def rules(self, path):
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
        for test in content.get("tests", []):
            for one in test["input_series"]:
                self.series(f"{path}: {test['name']}", one["series"])
        for rule in (rule for group in content.get("groups", []) for rule in group["rules"]):
            name = rule.get("record") or rule["alert"]
            labels = self.query(f"{path}: {name}", rule["expr"])
            if "record" in rule:
                self.record(name, labels)
            else:
                self.alert(rule, labels)

    def series(self, where, text):
        self.where = where
        self.selector(promql.parse(text), "count_over_time")

    def record(self, name, labels):
        level = name.split(":")[0]
        if labels is not None and set(level.split("_")) != set(labels):
            self.error(f"begins with {level}, and has the labels {sorted(labels)}")
        # A label keeps its values.
        values = {label: None for label in labels or ()}
        for metric in self.metrics.values():
            for label in values:
                if metric.labels.get(label) is not None:
                    values[label] = (values[label] or []) + metric.labels[label]
        self.metrics[name] = Metric(None, values)

    def alert(self, rule, labels):
        own, annotations = rule.get("labels", {}), rule.get("annotations", {})
        if own.get("severity") not in SEVERITIES or own.get("component") not in COMPONENTS:
            self.error("severity or component is missing, or not one of CONTRIBUTING.md")
        if sorted(annotations) != ["description", "runbook_url", "summary"]:
            self.error(f"has the annotations {sorted(annotations)}")
        if annotations.get("runbook_url") != f"{RUNBOOKS}{rule['alert']}.md":
            self.error(f"runbook_url is not {RUNBOOKS}{rule['alert']}.md")
        for label in re.findall(r"\$labels\.(\w+)", " ".join(annotations.values())):
            # The labels that the rule adds are not there yet.
            if labels is not None and label not in labels:
                self.error(f"its texts name the label {label}, which the result does not have")

    def queries(self, path):
        with open(path, encoding="utf-8") as file:
            for where, text in found_queries(json.load(file)):
                text = re.sub(r"\$__(rate_interval|interval|range)|\$\{__(rate_interval|interval|range)\}", "5m", text)
                self.query(f"{path}: {where}", text)


def is_scalar(expr):
    match expr:
        case promql.NumberLiteral():
            return True
        case promql.ParenExpr() | promql.UnaryExpr():
            return is_scalar(expr.expr)
        case promql.BinaryExpr():
            return is_scalar(expr.lhs) and is_scalar(expr.rhs)
        case promql.Call():
            return expr.func.name in ("time", "scalar", "pi")
    return False


def found_queries(value, where=""):
    """Every `expr` below a value of JSON, with the nearest name."""
    if isinstance(value, list):
        for one in value:
            yield from found_queries(one, where)
    elif isinstance(value, dict):
        where = value.get("title") or value.get("where") or where
        if isinstance(value.get("expr"), str):
            yield where, value["expr"]
        for one in value.values():
            yield from found_queries(one, where)


def main(paths):
    checker = Checker(json.load(sys.stdin))
    for path in paths:
        checker.rules(path) if path.endswith((".yaml", ".yml")) else checker.queries(path)
    print("\n".join(checker.errors), end="\n" if checker.errors else "")
    return 1 if checker.errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
