import { ManagementClient } from "auth0";

const { AUTH0_DOMAIN, AUTH0_SESSION_ID: id, SHOP_TOKEN, CRM_TOKEN } = process.env;
const application = (token) => new ManagementClient({ domain: AUTH0_DOMAIN, token });
const [shop, crm] = [application(SHOP_TOKEN), application(CRM_TOKEN)];

for (let turn = 1; turn <= 3; turn++) {
  await shop.sessions.update(id, { session_metadata: { cart_id: `cart-${turn}` } });
  await crm.sessions.update(id, { session_metadata: { team_id: `team-${turn}` } });
}
console.log(JSON.stringify((await shop.sessions.get(id)).session_metadata));
try {
  await crm.sessions.update(id, { session_metadata: { cart_id: "0" } });
} catch (error) {
  console.log(error.statusCode, error.body.message);
}
