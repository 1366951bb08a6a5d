import os

from auth0.management import ManagementClient
from auth0.management.errors import BadRequestError

management = ManagementClient(
    domain=os.environ["AUTH0_DOMAIN"],
    audience=os.environ["AUTH0_AUDIENCE"],
    client_id=os.environ["AUTH0_CLIENT_ID"],
    client_secret=os.environ["AUTH0_CLIENT_SECRET"],
)
session_id = os.environ["AUTH0_SESSION_ID"]

management.sessions.update(session_id, session_metadata={"tier": "pro"})
print(management.sessions.get(session_id).session_metadata["tier"])
try:
    management.sessions.update(session_id, session_metadata={"tier": "gold"})
except BadRequestError as error:
    print(error.status_code, error.body["message"])
