import base64
import os

from zitadel_client import SessionServiceGetSessionRequest, SessionServiceSetSessionRequest, Zitadel
from zitadel_client.exceptions import ApiError

zitadel = Zitadel.with_client_credentials(
    os.environ["ZITADEL_URL"],
    os.environ["ZITADEL_CLIENT_ID"],
    os.environ["ZITADEL_CLIENT_SECRET"],
)
session_id = os.environ["ZITADEL_SESSION_ID"]


def set_tier(tier):
    metadata = {"tier": base64.b64encode(tier).decode()}
    zitadel.sessions.set_session(SessionServiceSetSessionRequest(session_id=session_id, metadata=metadata))


set_tier(b"pro")
found = zitadel.sessions.get_session(SessionServiceGetSessionRequest(session_id=session_id))
print(base64.b64decode(found.session.metadata["tier"]).decode())
try:
    set_tier(b"gold")
except ApiError as error:
    print(error.code, error.response_body["message"])
