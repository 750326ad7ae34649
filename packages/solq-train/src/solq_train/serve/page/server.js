// What the page asks the server. Every failure is an Error whose message can be shown.

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `solq serve` still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.error ?? `The server answered with status ${response.status}.`);
  }
  return answer;
}

const pathOf = (id) => `/api/images/${encodeURIComponent(id)}`;

export const aboutModel = () => ask("/api/model");

export const predict = (file, signal) => ask("/api/predict", { method: "POST", body: file, signal });

export const masks = (id, coefficients, signal) =>
  ask(`${pathOf(id)}/masks?coefficients=${coefficients}`, { signal });

export const explain = (id, query, signal) =>
  ask(`${pathOf(id)}/explain?query=${query}`, { signal });

export async function picture(id) {
  const image = new Image();
  image.src = `${pathOf(id)}/picture`;
  try {
    await image.decode();
  } catch {
    throw new Error("The server did not send the picture back. Send the image again.");
  }
  return image;
}
