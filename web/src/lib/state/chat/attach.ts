// Files that somebody gives to a message: pictures as they are, videos whole or as pictures out of them.
import type { Attachment } from './message';

/** The gateway takes requests of 64 MiB; base64 needs a third more. */
const FILE_BYTES_MAX = 20 * 1024 * 1024;
const FRAMES = 8;
const FRAME_EDGE = 768;

export class NotAttachable extends Error {
  constructor(
    readonly file: string,
    readonly why: 'type' | 'size' | 'unreadable',
  ) {
    super(`${file}: ${why}`);
  }
}

/** `takesVideo`: the model sees videos; others are shown frames. */
export async function attach(file: File, takesVideo: boolean): Promise<Attachment> {
  const kind = file.type.split('/')[0];
  if (kind !== 'image' && kind !== 'video') throw new NotAttachable(file.name, 'type');
  if (kind === 'video' && !takesVideo) return { kind: 'frames', name: file.name, urls: await frames(file) };
  if (file.size > FILE_BYTES_MAX) throw new NotAttachable(file.name, 'size');
  return { kind, name: file.name, urls: [await dataUrl(file)] };
}

function dataUrl(file: Blob): Promise<string> {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result as string);
    reader.onerror = () => fail(new NotAttachable('', 'unreadable'));
    reader.readAsDataURL(file);
  });
}

/** Pictures at even distances, small enough that a model can take all of them. */
async function frames(file: File): Promise<string[]> {
  const url = URL.createObjectURL(file);
  const video = document.createElement('video');
  video.muted = true;
  video.preload = 'auto';
  try {
    await happened(video, 'loadeddata', file.name, () => (video.src = url));
    const scale = Math.min(1, FRAME_EDGE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = Object.assign(document.createElement('canvas'), {
      width: Math.max(1, Math.round(video.videoWidth * scale)),
      height: Math.max(1, Math.round(video.videoHeight * scale)),
    });
    const context = canvas.getContext('2d')!;
    // Some recordings do not say how long they are.
    const length = Number.isFinite(video.duration) ? video.duration : 0;
    const pictures: string[] = [];
    for (let i = 0; i < (length > 0 ? FRAMES : 1); i += 1) {
      if (length > 0) await happened(video, 'seeked', file.name, () => (video.currentTime = (length * (i + 0.5)) / FRAMES));
      context.drawImage(video, 0, 0, canvas.width, canvas.height);
      pictures.push(canvas.toDataURL('image/jpeg', 0.85));
    }
    return pictures;
  } finally {
    video.removeAttribute('src');
    URL.revokeObjectURL(url);
  }
}

function happened(video: HTMLVideoElement, event: 'loadeddata' | 'seeked', name: string, begin: () => void): Promise<void> {
  return new Promise((done, fail) => {
    const end = (then: () => void) => () => {
      video.removeEventListener(event, ok);
      video.removeEventListener('error', bad);
      then();
    };
    const ok = end(done);
    const bad = end(() => fail(new NotAttachable(name, 'unreadable')));
    video.addEventListener(event, ok);
    video.addEventListener('error', bad);
    begin();
  });
}
