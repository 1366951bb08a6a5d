"""Calls the session surface with Auth0's official Python SDK and prints what the SDK made of the answers.

    python auth0.py '{"base":"https://127.0.0.1:PORT","token":…,"read_only_token":…,"expired_token":…,
                      "session_id":…,"sessions":[id,id,id],"refresh_tokens":[id,id,id],"user_id":…}'

prints [{"case":…,"result":{"ok":…} or {"error":{…}}},…]. The cases and the form of the results are those of auth0.mjs.
Ends three of `sessions`, all of `refresh_tokens`, and at last everything of the user; nothing is listed after the first of them.
"""

import json
import os
import sys

# This file is named like the package it imports, and Python looks into the script's folder first.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path = [folder for folder in sys.path if os.path.abspath(folder) != HERE]

from auth0.management import ManagementClient  # noqa: E402

GARBAGE = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
UNKNOWN = "A" * 32

given = json.loads(sys.argv[1])


def management(token):
    return ManagementClient(domain=given["base"].removeprefix("https://"), token=token, timeout=20)


def sessions(token):
    return management(token).sessions


def plain(value):
    """The SDK's models as JSON. The SDK parses dates, so they come out with microseconds: …T13:00:30.380000Z."""
    return value.model_dump(mode="json", exclude_unset=True) if hasattr(value, "model_dump") else value


def described(error):
    body = getattr(error, "body", None)
    body = body if isinstance(body, dict) else {}
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "statusCode": body.get("statusCode"),
        "error": body.get("error"),
        "errorCode": body.get("errorCode"),
        "message": body.get("message", str(error)),
    }


results = []


def run(name, call):
    try:
        result = {"ok": plain(call())}
    except Exception as error:  # what is raised is the very thing to report
        result = {"error": described(error)}
    results.append({"case": name, "result": result})


client = sessions(given["token"])
session = given["session_id"]
first, second, third = given["sessions"]
tokens = management(given["token"]).refresh_tokens
token, other_token, third_token = given["refresh_tokens"]
users = management(given["token"]).users
user = given["user_id"]
limited = management(given["read_only_token"]).users


def ids(pages):
    """The ids on all pages, in order."""
    return [item.id for item in pages]


def update(metadata):
    return client.update(session, session_metadata=metadata)


def get_after_update():
    update({"a": "b"})
    return client.get(session)


run("get", lambda: client.get(session))
run("update_pair", lambda: update({"a": "b"}))
run("update_empty", lambda: update({}))
run("update_null", lambda: update(None))
run("update_non_ascii", lambda: update({"name": "Zoë 東京 🎉"}))
run("update_26_properties", lambda: update({f"key{number}": "value" for number in range(26)}))
run("update_256_characters", lambda: update({"a": "x" * 256}))
run("update_number", lambda: update({"a": 1}))
run("update_no_argument", lambda: client.update(session))
run("wrong_token", lambda: sessions(GARBAGE).get(session))
run("missing_scope", lambda: sessions(given["read_only_token"]).update(session, session_metadata={"a": "b"}))
run("expired_token", lambda: sessions(given["expired_token"]).get(session))
run("get_unknown", lambda: client.get(UNKNOWN))
run("get_malformed_id", lambda: client.get("a/b"))
run("get_after_update", get_after_update)


def update_token(metadata):
    return tokens.update(token, refresh_token_metadata=metadata)


many = {f"key{number}": "value" for number in range(26)}
run("token_get", lambda: tokens.get(token))
run("token_update_pair", lambda: update_token({"a": "b"}))
run("token_update_null", lambda: update_token(None))
run("token_update_number", lambda: update_token({"a": 1}))
run("token_update_26_properties", lambda: update_token(many))
run("token_get_unknown", lambda: tokens.get(UNKNOWN[:30]))
run("token_get_malformed_id", lambda: tokens.get("a/b"))
run("token_list", lambda: ids(tokens.list(user_id=user, take=2)))
run("token_revoke_ids", lambda: tokens.revoke(ids=[other_token]))
run("token_revoke_nothing", lambda: tokens.revoke())
run("token_revoke_both", lambda: tokens.revoke(ids=[other_token], user_id=user))
run("token_delete", lambda: tokens.delete(third_token))
run("user_tokens", lambda: ids(users.refresh_token.list(user, take=2)))
run("user_sessions", lambda: ids(users.sessions.list(user, take=2)))
run("user_sessions_of_nobody", lambda: ids(users.sessions.list("auth0|nobody")))
run("delete", lambda: client.delete(first))
run("revoke", lambda: client.revoke(second))
run("user_sessions_delete_missing_scope", lambda: limited.sessions.delete(user))
run("user_revoke_access_missing_scope", lambda: limited.revoke_access(user))
run("user_revoke_access_malformed", lambda: users.revoke_access(user, session_id="a/b"))
run("user_revoke_access_unknown_member", lambda: users.revoke_access(user, request_options={"additional_body_parameters": {"everything": True}}))
run("user_revoke_access_session", lambda: users.revoke_access(user, session_id=third, preserve_refresh_tokens=True))
run("user_tokens_delete", lambda: users.refresh_token.delete(user))
run("user_tokens_revoke", lambda: tokens.revoke(user_id=user))
run("user_sessions_delete", lambda: users.sessions.delete(user))
run("user_revoke_access", lambda: users.revoke_access(user))

print(json.dumps(results))
