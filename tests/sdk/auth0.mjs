// Calls the session surface with Auth0's official Node SDK and prints what the SDK made of the answers.
//
//   node auth0.mjs '{"base":"https://127.0.0.1:PORT","token":…,"read_only_token":…,"expired_token":…,
//                    "session_id":…,"sessions":[id,id,id],"refresh_tokens":[id,id,id],"user_id":…}'
//
// prints [{"case":…,"result":{"ok":…} or {"error":{…}}},…]. The cases and the form of the results are those of auth0.py.
// Ends three of `sessions`, all of `refresh_tokens`, and at last everything of the user; nothing is listed after the first of them.
import { ManagementClient } from "auth0";

const GARBAGE = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
const UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const input = JSON.parse(process.argv[2]);

function management(token) {
  return new ManagementClient({ domain: new URL(input.base).host, token, maxRetries: 0, timeoutInSeconds: 20 });
}

function described(error) {
  const body = error.body !== null && typeof error.body === "object" ? error.body : {};
  return {
    class: error.constructor.name,
    status: error.statusCode ?? null,
    statusCode: body.statusCode ?? null,
    error: body.error ?? null,
    errorCode: body.errorCode ?? null,
    message: body.message ?? error.message,
  };
}

const results = [];

async function run(name, call) {
  let result;
  try {
    result = { ok: (await call()) ?? null };
  } catch (error) {
    result = { error: described(error) };
  }
  results.push({ case: name, result });
}

const all = management(input.token);
const client = all.sessions;
const id = input.session_id;
const [first, second, third] = input.sessions;
const tokens = all.refreshTokens;
const [token, other_token, third_token] = input.refresh_tokens;
const users = all.users;
const user = input.user_id;
const limited = management(input.read_only_token).users;

// The ids on all pages, in order.
async function ids(pages) {
  const found = [];
  for await (const item of await pages) found.push(item.id);
  return found;
}
const update = (metadata) => client.update(id, { session_metadata: metadata });
const many = Object.fromEntries(Array.from({ length: 26 }, (_, number) => [`key${number}`, "value"]));

await run("get", () => client.get(id));
await run("update_pair", () => update({ a: "b" }));
await run("update_empty", () => update({}));
await run("update_null", () => update(null));
await run("update_non_ascii", () => update({ name: "Zoë 東京 🎉" }));
await run("update_26_properties", () => update(many));
await run("update_256_characters", () => update({ a: "x".repeat(256) }));
await run("update_number", () => update({ a: 1 }));
await run("update_no_argument", () => client.update(id));
await run("wrong_token", () => management(GARBAGE).sessions.get(id));
await run("missing_scope", () => management(input.read_only_token).sessions.update(id, { session_metadata: { a: "b" } }));
await run("expired_token", () => management(input.expired_token).sessions.get(id));
await run("get_unknown", () => client.get(UNKNOWN));
await run("get_malformed_id", () => client.get("a/b"));
await run("get_after_update", async () => {
  await update({ a: "b" });
  return client.get(id);
});

const update_token = (metadata) => tokens.update(token, { refresh_token_metadata: metadata });
await run("token_get", () => tokens.get(token));
await run("token_update_pair", () => update_token({ a: "b" }));
await run("token_update_null", () => update_token(null));
await run("token_update_number", () => update_token({ a: 1 }));
await run("token_update_26_properties", () => update_token(many));
await run("token_get_unknown", () => tokens.get(UNKNOWN.slice(0, 30)));
await run("token_get_malformed_id", () => tokens.get("a/b"));
await run("token_list", () => ids(tokens.list({ user_id: user, take: 2 })));
await run("token_revoke_ids", () => tokens.revoke({ ids: [other_token] }));
await run("token_revoke_nothing", () => tokens.revoke({}));
await run("token_revoke_both", () => tokens.revoke({ ids: [other_token], user_id: user }));
await run("token_delete", () => tokens.delete(third_token));
await run("user_tokens", () => ids(users.refreshToken.list(user, { take: 2 })));
await run("user_sessions", () => ids(users.sessions.list(user, { take: 2 })));
await run("user_sessions_of_nobody", () => ids(users.sessions.list("auth0|nobody")));
await run("delete", () => client.delete(first));
await run("revoke", () => client.revoke(second));
await run("user_sessions_delete_missing_scope", () => limited.sessions.delete(user));
await run("user_revoke_access_missing_scope", () => limited.revokeAccess(user));
await run("user_revoke_access_malformed", () => users.revokeAccess(user, { session_id: "a/b" }));
await run("user_revoke_access_unknown_member", () => users.revokeAccess(user, { everything: true }));
await run("user_revoke_access_session", () => users.revokeAccess(user, { session_id: third, preserve_refresh_tokens: true }));
await run("user_tokens_delete", () => users.refreshToken.delete(user));
await run("user_tokens_revoke", () => tokens.revoke({ user_id: user }));
await run("user_sessions_delete", () => users.sessions.delete(user));
await run("user_revoke_access", () => users.revokeAccess(user));

console.log(JSON.stringify(results));
