"""What a Galaxy S10 with a Snapdragon 855 and Adreno 640 answers: properties, services, files of the kernel."""

PROPERTIES = {
    "ro.board.platform": "msmnile",
    "ro.build.fingerprint": "samsung/beyond1qsqw/beyond1q:12/SP1A.210812.016/G973USQU7IVL1:user/release-keys",
    "ro.build.version.release": "12",
    "ro.build.version.sdk": "31",
    "ro.hardware": "qcom",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.product.device": "beyond1q",
    "ro.product.manufacturer": "samsung",
    "ro.product.model": "SM-G973U",
    "ro.product.name": "beyond1qsqw",
    "ro.soc.model": "SM8150",
}

SURFACE_FLINGER = """Build configuration: [sf PRESENT_TIME_OFFSET=0 FORCE_HWC_FOR_RBG_TO_YUV=1]
GLES: Qualcomm, Adreno (TM) 640, OpenGL ES 3.2 V@0502.0 (GIT@bb5edbe, I08ad1bfd5b, 1609222226) (Date:12/29/20)
EGL_ANDROID_image_native_buffer EGL_KHR_fence_sync
"""

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: {level}
  scale: 100
  voltage: 4312
  temperature: {tenths}
  technology: Li-ion
"""

THERMAL = """IsStatusOverride: {override}
ThermalEventListeners:
\tcallbacks: 1
\tkilled: false
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=99.0, mType=3, mName=OLD, mStatus=0}}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{{mValue={skin}, mType=3, mName=SKIN, mStatus={status}}}
\tTemperature{{mValue=31.2, mType=0, mName=AP, mStatus=0}}
Current cooling devices from HAL:
"""

POWER = """POWER MANAGER (dumpsys power)

Power Manager State:
  mWakefulness={wakefulness}
  mIsPowered=true
"""

SYSFS = {
    "gpuclk": "585000000",
    "devfreq/cur_freq": "585000000",
    "gpu_busy_percentage": "0 %",
    "max_gpuclk": "585000000",
    "gpu_available_frequencies": "585000000 499200000 427000000 345000000 257000000",
    "temp": "31000",
}
"""Under ``/sys/class/kgsl/kgsl-3d0``."""
