// Requests of the buttons. A problem is told on the page and returned as null.

const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
const problem = document.getElementById("problem");

export async function post(url, values = {}) {
  let text = "The server cannot be reached. Is the demo still running?";
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "X-CSRFToken": token },
      body: new URLSearchParams(values),
    });
    if (response.ok) {
      problem.hidden = true;
      return response.status === 204 ? {} : await response.json();
    }
    text = `The server answered ${response.status}.`;
    text = (await response.json()).message ?? text;
  } catch {
    // no network, or an error page that is no JSON
  }
  problem.textContent = text;
  problem.hidden = false;
  return null;
}
