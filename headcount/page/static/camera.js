// The camera.

import { $ } from "./dom.js";
import { addFiles } from "./items.js";
import { t } from "./translation.js";

export async function openCamera() {
  $("cameratrouble").hidden = true;
  $("shoot").disabled = true;
  $("cameradialog").showModal();
  try {
    if (!navigator.mediaDevices) throw new Error(t("browsers allow the camera only on https pages and on localhost"));
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
    });
    if (!$("cameradialog").open) return stopStream(stream);
    $("camera").srcObject = stream;
    $("shoot").disabled = false;
  } catch (error) {
    $("cameratrouble").hidden = false;
    $("cameratrouble").textContent = t("No camera: {reason}", {
      reason: error.message,
    });
  }
}

const stopStream = (stream) => stream?.getTracks().forEach((track) => track.stop());

$("cameradialog").onclose = () => {
  stopStream($("camera").srcObject);
  $("camera").srcObject = null;
};

export function takePhoto() {
  const video = $("camera"),
    sheet = Object.assign(document.createElement("canvas"), {
      width: video.videoWidth,
      height: video.videoHeight,
    });
  sheet.getContext("2d").drawImage(video, 0, 0);
  $("cameradialog").close();
  sheet.toBlob(
    (blob) =>
      addFiles([
        new File([blob], `camera ${new Date().toLocaleTimeString("en-GB").replaceAll(":", "-")}.jpg`, {
          type: "image/jpeg",
        }),
      ]),
    "image/jpeg",
    0.92,
  );
}
