// The one question that may be open before something is destroyed.

interface Question {
  title: string;
  text: string;
  /** The verb on the button, with its object where that helps. */
  action: string;
}

class Confirmation {
  asked = $state<Question | null>(null);
  #done: (yes: boolean) => void = () => {};

  ask(question: Question): Promise<boolean> {
    this.#done(false);
    this.asked = question;
    return new Promise((done) => (this.#done = done));
  }

  answer(yes: boolean): void {
    this.asked = null;
    this.#done(yes);
    this.#done = () => {};
  }
}

export const confirmation = new Confirmation();
