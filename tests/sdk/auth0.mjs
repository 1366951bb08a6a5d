// Calls the session endpoints with Auth0's official Node SDK and prints what the SDK made of the answers.
//
//   node auth0.mjs '{"base":"http://127.0.0.1:PORT","token":…,"read_only_token":…,"expired_token":…,
//                    "session_id":…,"sessions":[id,id]}'
//
// prints [{"case":…,"result":{"ok":…} or {"error":{…}}},…]. The cases and the form of the results are those of auth0.py.
// Uses up two of `sessions` and leaves {"a":"b"} as the metadata of `session_id`.
import { createManagementAuth } from "auth0";
import { SessionsClient } from "auth0/sessions";

const GARBAGE = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
const UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const input = JSON.parse(process.argv[2]);

// The public ManagementClient insists on https://{domain}; the client of one resource takes a base URL.
function sessions(token) {
  const { clientOptions } = createManagementAuth({ domain: "tenant.example", token });
  return new SessionsClient({ ...clientOptions, baseUrl: `${input.base}/api/v2`, maxRetries: 0, timeoutInSeconds: 20 });
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

const client = sessions(input.token);
const id = input.session_id;
const [first, second] = input.sessions;
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
await run("wrong_token", () => sessions(GARBAGE).get(id));
await run("missing_scope", () => sessions(input.read_only_token).update(id, { session_metadata: { a: "b" } }));
await run("expired_token", () => sessions(input.expired_token).get(id));
await run("get_unknown", () => client.get(UNKNOWN));
await run("get_malformed_id", () => client.get("a/b"));
await run("delete", () => client.delete(first));
await run("revoke", () => client.revoke(second));
await run("get_after_update", async () => {
  await update({ a: "b" });
  return client.get(id);
});

console.log(JSON.stringify(results));
