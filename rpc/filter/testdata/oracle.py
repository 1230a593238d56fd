"""Writes cases for TestOracle: random rows, filters and options, and what Python makes of them.

Most rules of query-filters are those of Python's own operators, so this applies the operators themselves. Usage, with
Python 3.13: python3 oracle.py SEED COUNT > cases.jsonl
"""

import json
import operator
import random
import re
import sys
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_python(value):
    """Extended JSON to Python: only dates, the rest compares as it is."""
    if isinstance(value, dict):
        if list(value) == ["$date"] and type(value["$date"]) is int:
            return EPOCH + timedelta(milliseconds=value["$date"])
        return {k: to_python(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_python(v) for v in value]
    return value


def to_json(value):
    if isinstance(value, datetime):
        return {"$date": (value - EPOCH) // timedelta(milliseconds=1)}
    raise TypeError(value)


# Evaluation


def split(path):
    parts, pieces = [], path.split(".")
    while pieces:
        part = pieces.pop(0)
        while part.endswith("\\") and pieces:
            part = part[:-1] + "." + pieces.pop(0)
        parts.append(part)
    return parts


def type_name(value):
    return "datetime.datetime" if isinstance(value, datetime) else type(value).__name__


def casefold(value):
    if value is None:
        return None
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, list):
        return [v.casefold() for v in value]
    raise ValueError(f"filter_list: cannot casefold value of type {type_name(value)}")


def affix(method):
    def test(x, y):
        for operand in (x, y):
            if not isinstance(operand, str):
                raise TypeError(f"must be str, not {type_name(operand)}")
        return method(x, y)
    return test


def unless_null(test):
    return lambda x, y: x is not None and test(x, y)


starts, ends = affix(str.startswith), affix(str.endswith)
OPERATORS = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "~": lambda x, y: re.match(y, "" if x is None else x) is not None,
    "in": lambda x, y: x in y,
    "nin": unless_null(lambda x, y: x not in y),
    "rin": unless_null(lambda x, y: y in x),
    "rnin": unless_null(lambda x, y: y not in x),
    "^": unless_null(starts),
    "!^": unless_null(lambda x, y: not starts(x, y)),
    "$": unless_null(ends),
    "!$": unless_null(lambda x, y: not ends(x, y)),
}


def holds(value, parts, op, want):
    for i, part in enumerate(parts):
        if isinstance(value, dict):
            if part not in value:
                return False
            value = value[part]
        elif isinstance(value, list):
            if part == "*":
                return any(holds(v, parts[i + 1:], op, want) for v in value)
            if not part.isdigit():
                return False
            value = value[int(part)] if int(part) < len(value) else None
        else:
            break
    if op.startswith("C"):
        return OPERATORS[op[1:]](casefold(value), casefold(want))
    return OPERATORS[op](value, want)


def matches(row, node):
    if len(node) == 2:
        return any(all(matches(row, n) for n in branch) if isinstance(branch[0], list) else matches(row, branch)
                   for branch in node[1])
    path, op, want = node
    if path.endswith(".$date"):
        path, want = path[:-6], datetime.fromisoformat(want)
    return holds(row, split(path), op, want)


def check(node):
    """What cannot be folded is a fault whether there are rows or not."""
    if len(node) == 2:
        for branch in node[1]:
            for n in branch if isinstance(branch[0], list) else [branch]:
                check(n)
    elif node[1].startswith("C"):
        casefold(node[2])


def project(row, selection):
    result = {}
    for field in selection:
        path, name = field if isinstance(field, list) else (field, None)
        value, parts = row, split(path)
        for part in parts:
            if isinstance(value, list):
                raise ValueError("filter_list: selecting by list index is not supported")
            if not isinstance(value, dict) or part not in value:
                break
            value = value[part]
        else:
            if name is not None:
                result[name] = value
                continue
            into = result
            for part in parts[:-1]:
                into[part] = dict(into[part]) if isinstance(into.get(part), dict) else {}
                into = into[part]
            into[parts[-1]] = value
    return result


def key(row, parts):
    value = row
    for part in parts:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def order(rows, order_by):
    for directive in reversed(order_by):
        nulls, field = re.fullmatch(r"(nulls_first:|nulls_last:)?(.*)", directive).groups()
        descending, parts = field.startswith("-"), split(field.removeprefix("-"))
        apart = [r for r in rows if nulls and key(r, parts) is None]
        pairs = [(key(r, parts), -i if descending else i, r) for i, r in enumerate(r for r in rows if r not in apart)]
        if len(rows) > 1:
            pairs.sort()
        if descending:
            pairs.reverse()
        rest = [r for _, _, r in pairs]
        rows = apart + rest if nulls == "nulls_first:" else rest + apart
    return rows


def answer(rows, filters, options):
    for node in filters:
        check(node)
    found = []
    for row in rows:
        if all(matches(row, node) for node in filters):
            found.append(row)
            if options.get("get") and not options.get("order_by"):
                break
    if options.get("select"):
        found = [project(row, options["select"]) for row in found]
    if options.get("count"):
        return len(found)
    found = order(found, options.get("order_by", []))[options.get("offset", 0):]
    if options.get("limit"):
        found = found[:options["limit"]]
    if options.get("get"):
        if not found:
            raise LookupError("MatchNotFound()")
        return found[0]
    return found


# Generation

ONE_OF = random.choice


def chance(p):
    return random.random() < p


def scalar():
    return ONE_OF([None, True, False, 0, 1, 2, -1, 1.0, 1.5, 2**53 + 1, float(2**53), 2**64, "", "a", "A", "ab", "AB",
                   "Straße", "STRASSE", "ς", "σ", "b\n", "it's", {"$date": 1000}, {"$date": 60000}])


def any_value(depth=0):
    if depth > 2 or chance(.6):
        return scalar()
    if chance(.5):
        return [any_value(depth + 1) for _ in range(random.randrange(4))]
    return {ONE_OF("abc"): any_value(depth + 1) for _ in range(random.randrange(3))}


def any_row(i):
    return {"id": i} | {name: any_value() for name in "abc" if chance(.85)}


def any_condition():
    path = ONE_OF(["a", "b", "c", "a.b", "a.0", "a.1", "b.*", "b.*.a", "c.a.*", "a.a.0", r"b.b\.c", "zz", "id"])
    if chance(.05):
        return [path + ".$date", ONE_OF(["=", "!=", "<", ">="]), ONE_OF(["1970-01-01T00:00:30Z", "1970-01-01T01:01:00+01:00"])]
    op = ONE_OF(list(OPERATORS))
    if op == "~":
        return [path, op, ONE_OF(["a", "^a", "A|b", "b$", "", "(?i)AB", "(?P<x>a)(?P=x)?", "[^a]", r"\w+\Z", "a{,2}b"])]
    if chance(.3):
        return [path, "C" + op, any_value() if chance(.2) else ONE_OF(["A", "ab", "strasse", ["A", "b"]])]
    if op in ("in", "nin") and chance(.7):
        return [path, op, [scalar() for _ in range(3)]]
    return [path, op, any_value()]


def any_node(depth=0):
    if depth < 2 and chance(.2):
        return ["OR", [[any_node(2), any_node(2)] if depth == 0 and chance(.3) else any_node(depth + 1)
                       for _ in range(random.randrange(3))]]
    return any_condition()


def any_options():
    options = {}
    if chance(.3):
        options["select"] = [ONE_OF(["id", "a", "a.b", "b.c.a", ["a", "x"], ["a.b", "y"], "zz"]) for _ in range(2)]
    if chance(.3):
        options["order_by"] = [ONE_OF(["", "nulls_first:", "nulls_last:"]) + ONE_OF(["", "-"]) + ONE_OF(["a", "b", "id", "a.b", "c.0"])
                               for _ in range(ONE_OF([1, 1, 2]))]
    kind = random.random()
    if kind < .1:
        options["count"] = True
    elif kind < .2:
        options["get"] = True
    elif kind < .5:
        options |= {"offset": random.randrange(3), "limit": random.randrange(4)}
    return options


def main():
    random.seed(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        case = {"rows": [any_row(i) for i in range(random.randrange(1, 5))],
                "filters": [any_node() for _ in range(random.randrange(3))], "options": any_options()}
        try:
            case["result"] = answer(to_python(case["rows"]), to_python(case["filters"]), case["options"])
        except Exception as e:
            case["error"] = str(e)
        print(json.dumps(case, default=to_json))


main()
