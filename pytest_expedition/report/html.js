"use strict";
for (const button of document.querySelectorAll(".curl button")) {
  const commands = button.nextElementSibling;
  const say = (text) => {
    button.textContent = text;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  const select = () => {
    getSelection().selectAllChildren(commands);
    say("Selected");
  };
  button.setAttribute("aria-live", "polite");
  button.hidden = false;
  button.addEventListener("click", () => {
    if (!navigator.clipboard) return select();
    navigator.clipboard.writeText(commands.textContent).then(() => say("Copied"), select);
  });
}
