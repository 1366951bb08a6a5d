"""Calls ZITADEL's session services with its official Python SDK, which speaks Connect's JSON, and prints what came of each call.

    python zitadel.py '{"base":"http://127.0.0.1:8080","token":…,"user_id":…,"password":…}'

Cases, and the form of what is printed, are those of zitadel.mjs.
"""

import base64
import json
import sys

from zitadel_client import models
from zitadel_client.zitadel import Zitadel

given = json.loads(sys.argv[1])
client = Zitadel.with_access_token(given["base"], given["token"])

LINK = "https://login.example.com/otp?code={{.Code}}"
EVIL = "https://evil.example/{{.Code}}"


def tier(text):
    return {"tier": base64.b64encode(text.encode()).decode()}


def checks(password):
    return {"user": {"userId": given["user_id"]}, "password": {"password": password}}


def everything(name, link):
    web_auth_n = {
        "domain": "login.example.com",
        "userVerificationRequirement": "USER_VERIFICATION_REQUIREMENT_REQUIRED",
    }
    return {
        "metadata": tier(name),
        "lifetime": "7200s",
        "checks": checks(given["password"]),
        "challenges": {"otpEmail": {"sendCode": {"urlTemplate": link}}, "webAuthN": web_auth_n},
    }


def described(error):
    body = getattr(error, "response_body", None)
    body = body if isinstance(body, dict) else {}
    return {
        "class": type(error).__name__,
        "status": getattr(error, "code", None),
        "code": body.get("code"),
        "message": body.get("message", str(error)),
        "details": [{"type": one["type"], "value": one["value"]} for one in body.get("details", [])],
    }


def run(carrier, service, prefix, shows_token):
    """The cases in one version of the API; its models are called `<prefix><Method>Request`."""
    results = []
    state = {"sessionId": "none", "sessionToken": ""}

    def attempt(name, method, request):
        title = "".join(word.title() for word in method.split("_"))
        try:
            model = getattr(models, f"{prefix}{title}Request").from_dict(request)
            answer = getattr(service, method)(model)
            result = {"ok": answer.model_dump(mode="json", by_alias=True, exclude_none=True)}
            state["sessionToken"] = result["ok"].get("sessionToken") or state["sessionToken"]
        except Exception as error:  # what is raised is the very thing to report
            result = {"error": described(error)}
        results.append({"carrier": carrier, "case": name, "result": result})
        return result.get("ok", {})

    def get(name, **request):
        attempt(name, "get_session", {"sessionId": state["sessionId"], **request})

    def change(name, **wanted):
        request = dict(state) if shows_token else {"sessionId": state["sessionId"]}
        attempt(name, "set_session", {**request, **wanted})

    made = attempt("create", "create_session", {"metadata": tier("free"), "lifetime": "3600s"})
    attempt("rejected create", "create_session", {"metadata": tier("gold"), "lifetime": "3600s"})
    state["sessionId"] = made.get("sessionId", "none")
    get("get", sessionToken=state["sessionToken"])
    change("set", metadata=tier("pro"))
    get("get after")
    change("set everything", **everything("enterprise", LINK))
    get("get everything")
    change("clamped", lifetime="99999999s")
    get("get clamped")
    change("rejected key", metadata=tier("gold"))
    change("rejected code", challenges={"otpEmail": {"returnCode": {}}})
    change("rejected link", challenges={"otpEmail": {"sendCode": {"urlTemplate": EVIL}}})
    change("rejected everything", **everything("gold", EVIL))
    change("rejected by the provider's rules", checks={"totp": {"code": "12"}})
    change("wrong password", checks=checks("wrong"))
    change("nothing")
    if shows_token:
        change("without token", sessionToken=None, metadata=tier("pro"))
    attempt("list", "list_sessions", {"queries": [{"idsQuery": {"ids": [state["sessionId"]]}}]})
    get("get missing", sessionId="404")
    attempt("delete", "delete_session", {"sessionId": state["sessionId"]})
    get("get deleted")
    return results


print(
    json.dumps(
        run("python v2", client.sessions, "SessionService", shows_token=False)
        + run("python v2beta", client.beta_sessions, "BetaSessionService", shows_token=True)
    )
)
