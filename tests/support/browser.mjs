// Drives Chromium for real_browser.py: one JSON command a line on stdin, one JSON answer a line on stdout.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [, , packageDirectory, executablePath, profile] = process.argv;
const { chromium } = createRequire(`${packageDirectory}/`)("playwright-core");
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const page = context.pages()[0] ?? await context.newPage();
const seen = { errors: [], requests: [] };
page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("request", (request) => seen.requests.push(request.url()));

const commands = {
  open: async ({ url }) => void (await page.goto(url)),
  look: async ({ width, height, colorScheme, reducedMotion = null }) => {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme, reducedMotion });
  },
  wait: ({ selector, text, state, timeout = 10000 }) =>
    page.locator(selector).filter({ hasText: text }).first().waitFor({ state, timeout }),
  text: ({ selector }) => page.locator(selector).allInnerTexts(),
  click: ({ selector }) => page.locator(selector).first().click(),
  press: ({ key }) => page.keyboard.press(key),
  offline: ({ offline }) => context.setOffline(offline),
  evaluate: ({ script }) => page.evaluate(script),
  screenshot: async ({ path, fullPage = true }) => void (await page.screenshot({ path, fullPage })),
  seen: () => seen,
};

console.log(JSON.stringify({ result: "ready" }));
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: (await commands[command](options)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await context.close();
