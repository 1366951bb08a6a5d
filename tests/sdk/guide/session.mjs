import { ManagementClient } from "auth0";

const { AUTH0_DOMAIN, AUTH0_AUDIENCE, AUTH0_CLIENT_ID, AUTH0_CLIENT_SECRET, AUTH0_SESSION_ID } = process.env;
const management = new ManagementClient({
  domain: AUTH0_DOMAIN,
  audience: AUTH0_AUDIENCE,
  clientId: AUTH0_CLIENT_ID,
  clientSecret: AUTH0_CLIENT_SECRET,
});

await management.sessions.update(AUTH0_SESSION_ID, { session_metadata: { tier: "pro" } });
const session = await management.sessions.get(AUTH0_SESSION_ID);
console.log(session.session_metadata.tier);
try {
  await management.sessions.update(AUTH0_SESSION_ID, { session_metadata: { tier: "gold" } });
} catch (error) {
  console.log(error.statusCode, error.body.message);
}
