"""Machines as their files show them. Each tree says which public capture its facts come from.

The facts are which files there are, what they are called and how they look. Figures that no capture gives, such as the
counters of /proc, are those of a board that does little.
"""

import pytest

IDLE_STAT = "cpu  1000 0 500 90000 200 0 50 0 0 0\ncpu0 1 2 3\nintr 5\n"
VMSTAT = "nr_free_pages 12\npswpin 0\npswpout 0\npgfault 900\npgmajfault 7\n"
WORKER = 4711
LAPTOP_CPU = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz\n"
    "flags\t\t: fpu lm sse2 avx f16c fma avx2\n\n"
)


def _common(load="0.31"):
    """What every Linux has, and the process of a worker with two threads."""
    process = f"proc/{WORKER}"
    return {
        "proc/stat": IDLE_STAT,
        "proc/vmstat": VMSTAT,
        "proc/loadavg": f"{load} 0.20 0.10 1/120 999\n",
        "proc/meminfo": "MemTotal:       3884312 kB\nSwapTotal:        102396 kB\nSwapFree:         102396 kB\n",
        "proc/sys/vm/swappiness": "60\n",
        f"{process}/stat": f"{WORKER} (python3 (x) y) S 1 1 1 0 -1 4194304 5000 0 3 0 100 20 0 0 20 0 2 0 36232 1\n",
        f"{process}/task/{WORKER}/schedstat": "3000000000 20000000 150\n",
        f"{process}/task/{WORKER + 1}/schedstat": "2000000000 10000000 90\n",
    }


def _policy(number, cores, now_khz, low_khz, high_khz, governor, driver):
    home = f"sys/devices/system/cpu/cpufreq/policy{number}"
    return {
        f"{home}/affected_cpus": f"{' '.join(map(str, cores))}\n",
        f"{home}/scaling_cur_freq": f"{now_khz}\n",
        f"{home}/scaling_min_freq": f"{low_khz}\n",
        f"{home}/scaling_max_freq": f"{high_khz}\n",
        f"{home}/cpuinfo_max_freq": f"{high_khz}\n",
        f"{home}/scaling_governor": f"{governor}\n",
        f"{home}/scaling_driver": f"{driver}\n",
    }


def _chip(number, name, **files):
    home = f"sys/class/hwmon/hwmon{number}"
    return {f"{home}/name": f"{name}\n", **{f"{home}/{key}": f"{value}\n" for key, value in files.items()}}


def _zone(number, kind, millidegrees):
    home = f"sys/class/thermal/thermal_zone{number}"
    return {f"{home}/type": f"{kind}\n", f"{home}/temp": f"{millidegrees}\n"}


def _cooling(number, kind, state):
    home = f"sys/class/thermal/cooling_device{number}"
    return {f"{home}/type": f"{kind}\n", f"{home}/cur_state": f"{state}\n"}


def _rapl(zone, name, microjoules, limit=262143328850):
    home = f"sys/class/powercap/{zone}"
    files = {f"{home}/name": f"{name}\n", f"{home}/energy_uj": f"{microjoules}\n"}
    return {**files, f"{home}/max_energy_range_uj": f"{limit}\n"}


PMIC = """\
 3V7_WL_SW_A current(0)=0.09368929A
   3V3_SYS_A current(1)=0.08783370A
   1V8_SYS_A current(2)=0.18054710A
  DDR_VDD2_A current(3)=0.22543980A
  DDR_VDDQ_A current(4)=0.06666720A
   1V1_SYS_A current(5)=0.17566740A
    0V8_SW_A current(6)=0.37670900A
  VDD_CORE_A current(7)=6.22421000A
   3V3_DAC_A current(17)=0.00006105A
   3V3_ADC_A current(18)=0.00036630A
   0V8_AON_A current(16)=0.00305250A
      HDMI_A current(22)=0.02417580A
 3V7_WL_SW_V volt(8)=3.69977600V
   3V3_SYS_V volt(9)=3.31003300V
   1V8_SYS_V volt(10)=1.80512600V
  DDR_VDD2_V volt(11)=1.10476100V
  DDR_VDDQ_V volt(12)=0.60146460V
   1V1_SYS_V volt(13)=1.11025500V
    0V8_SW_V volt(14)=0.80146440V
  VDD_CORE_V volt(15)=0.86173300V
   3V3_DAC_V volt(20)=3.31318300V
   3V3_ADC_V volt(21)=3.30677300V
   0V8_AON_V volt(19)=0.80029220V
      HDMI_V volt(23)=5.08664000V
     EXT5V_V volt(24)=5.09066000V
      BATT_V volt(25)=0.00000000V
"""
"""``vcgencmd pmic_read_adc`` of a Raspberry Pi 5 with four busy cores: github.com/ml-energy/zeus at 09de54d,
tests/device/machine/test_rpi.py."""

NVMAP = """\
CLIENT                        PROCESS      PID        SIZE
user                      gnome-shell     1893      25600K
user                          python3     4711     524288K
user                          python3     5000       1024K
total                                              550912K
"""
"""Columns as nvmap_debug_clients_show of NVIDIA's kernel prints them: github.com/teslamotors/linux,
drivers/video/tegra/nvmap/nvmap_dev.c."""

MACHINES = {
    # Chips cpu_thermal (54.5 degrees) and rpi_volt: github.com/raspberrypi/linux/issues/5584, kernel 6.1.21-v8+.
    # The firmware's word and its path: github.com/raspberrypi/linux/pull/2397. Clocks: Raspberry Pi 4 product brief.
    "pi-4": {
        **_common(),
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
        "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        **_zone(0, "cpu-thermal", 54500),
        **_chip(0, "cpu_thermal", temp1_input=54500),
        **_chip(1, "rpi_volt", in0_lcrit_alarm=0),
        **_cooling(0, "cpufreq-cpu0", 0),
        **_policy(0, range(4), 1800000, 600000, 1800000, "ondemand", "cpufreq-dt"),
    },
    # Chips cpu_thermal, rp1_adc, pwmfan and rpi_volt, and no file with watts: github.com/ml-energy/zeus/issues/273.
    # The firmware's node is soc@107c000000:firmware, and newer kernels have no get_throttled file:
    # github.com/beyondessential/bliti. The fan is a cooling device: github.com/MichaIng/DietPi/issues/6676.
    "pi-5": {
        **_common(),
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "sys/devices/platform/soc@107c000000/uevent": "DRIVER=simple-bus\n",
        **_zone(0, "cpu-thermal", 61900),
        **_chip(0, "cpu_thermal", temp1_input=61900),
        **_chip(1, "rp1_adc", in1_input=1480, in2_input=2514, temp1_input=50100),
        **_chip(2, "pwmfan", fan1_input=3054, pwm1=125),
        **_chip(3, "rpi_volt", in0_lcrit_alarm=0),
        **_cooling(0, "pwm-fan", 2),
        **_policy(0, range(4), 2400000, 1500000, 2400000, "ondemand", "cpufreq-dt"),
    },
    # Mode 15W; clocks of processor, GPU and memory of an Orin Nano developer kit as jetson_clocks --show of the
    # nvpmodel snap's documentation prints them (JetPack 6). /sys/class/devfreq/17000000.gpu:
    # github.com/rbonghi/jetson_stats/pull/867. The monitor's files, of which those of channels that are switched off
    # cannot be read: github.com/alumet-dev/alumet/issues/212; its rails: github.com/energymon/energymon,
    # jetson/JetsonPowerRails.md.
    # soctherm_oc with oc*_event_cnt: NVIDIA's Jetson Linux Developer Guide r36.3, Jetson Orin, over-current throttling.
    "orin-nano": {
        **_common(),
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n",
        "var/lib/nvpmodel/status": "pmode:0000 fmode:fanNull",
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
        **_zone(0, "cpu-thermal", 48000),
        **_zone(1, "gpu-thermal", 50218),
        **_zone(8, "tj-thermal", 50218),
        **_chip(0, "pwm_fan", pwm1=88),
        **_chip(
            1,
            "ina3221",
            in1_label="VDD_IN",
            in1_input=4952,
            curr1_input=944,
            in2_label="VDD_CPU_GPU_CV",
            in2_input=4944,
            curr2_input=112,
            in3_label="VDD_SOC",
            in3_input=4944,
            curr3_input=296,
            in7_label="sum of shunt voltages",
            in7_input=6760,
        ),
        **_chip(2, "soctherm_oc", oc1_event_cnt=0, oc2_event_cnt=0, oc3_event_cnt=3, oc3_throt_en=1),
        **_cooling(0, "cpufreq-cpu0", 0),
        **_policy(0, range(4), 960000, 729600, 1510400, "schedutil", "tegra194"),
        **_policy(4, (4, 5), 729600, 729600, 1510400, "schedutil", "tegra194"),
        "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
        "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/available_frequencies": "306000000 408000000 510000000 612000000 624750000\n",
        "sys/kernel/debug/bpmp/debug/clk/emc/rate": "665600000\n",
        "sys/kernel/debug/bpmp/debug/clk/emc/min_rate": "204000000\n",
        "sys/kernel/debug/bpmp/debug/clk/emc/max_rate": "2133000000\n",
        "sys/kernel/debug/bpmp/debug/clk/emc/mrq_rate_locked": "0\n",
        "sys/kernel/debug/nvmap/iovmm/clients": NVMAP,
    },
    # Zones and their values: github.com/flightlessmango/MangoHud/issues/1776; psys, which holds the others, and dram,
    # which the package does not: github.com/powercap/powercap/issues/3 (i7-8550U). "Processor" and "TCC" cooling
    # devices: github.com/intel/thermal_daemon/issues/388.
    "x86-laptop": {
        **_common(),
        "proc/cpuinfo": LAPTOP_CPU,
        "sys/class/dmi/id/sys_vendor": "LENOVO\n",
        **_zone(0, "acpitz", 25000),
        **_zone(1, "x86_pkg_temp", 71000),
        **_chip(4, "coretemp", temp1_input=71000, temp2_input=69000),
        **_cooling(0, "Processor", 0),
        **_cooling(8, "TCC Offset", 10),
        **_rapl("intel-rapl:0", "package-0", 26963529117),
        **_rapl("intel-rapl:0:0", "core", 7980278886),
        **_rapl("intel-rapl:0:1", "uncore", 6564982278),
        **_rapl("intel-rapl:0:2", "dram", 4000000000),
        **_rapl("intel-rapl:1", "psys", 60000000000),
        **_rapl("intel-rapl-mmio:0", "package-0", 26963529117),
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "12\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "40\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "3\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "40\n",
        **_policy(0, (0,), 3400000, 400000, 4000000, "powersave", "intel_pstate"),
        **_policy(1, (1,), 800102, 400000, 4000000, "powersave", "intel_pstate"),
        "sys/devices/system/cpu/cpufreq/policy0/energy_performance_preference": "balance_performance\n",
        "sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
        "sys/devices/system/cpu/smt/active": "1\n",
        "sys/firmware/acpi/platform_profile": "balanced\n",
        "sys/class/power_supply/AC/type": "Mains\n",
        "sys/class/power_supply/AC/online": "0\n",
        "sys/class/power_supply/BAT0/type": "Battery\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    },
    # Nothing under /sys/class/powercap in a KVM guest: github.com/spandruvada/rapl_power_meter/issues/1. A guest has no
    # cpufreq, no thermal zones, and time stolen by its neighbours.
    "vm": {
        **_common(),
        "proc/stat": "cpu  25458 1992 8672 35728 191 0 95 107 0 0\ncpu0 1 2 3\n",
        "proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n"
        "flags\t\t: fpu lm sse2 avx f16c fma avx2 hypervisor\n\n",
        "sys/class/dmi/id/sys_vendor": "QEMU\n",
        "sys/devices/system/cpu/smt/active": "0\n",
    },
    # Docker on that laptop: the powercap and thermal_throttle directories are there and empty
    # (github.com/moby/moby/pull/49560, github.com/podman-container-tools/buildah/issues/6073, and for powercap
    # github.com/lf-edge/eve/pull/3745); the links in /sys/class point nowhere.
    "container": {
        **_common(),
        ".dockerenv": "",
        "proc/cpuinfo": LAPTOP_CPU,
        "sys/class/powercap/.empty": "",
        "sys/devices/system/cpu/cpu0/thermal_throttle/.empty": "",
        **_policy(0, (0,), 3400000, 400000, 4000000, "powersave", "intel_pstate"),
    },
}


@pytest.fixture
def computer(tmp_path):
    """Writes the files of a machine, with some replaced or, given as None, removed; gives their root."""

    def build(name, changes=None):
        for path, content in {**MACHINES[name], **(changes or {})}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.write_text(content)
        return tmp_path

    return build


@pytest.fixture
def vcgencmd():
    """A Raspberry Pi's firmware command: answers by argument, and what it was asked."""

    class Vcgencmd:
        def __init__(self):
            self.answers = {"pmic_read_adc": PMIC, "get_throttled": "throttled=0x0\n"}
            self.asked = []

        def __call__(self, argument):
            self.asked.append(argument)
            return self.answers.get(argument, "")

    return Vcgencmd()


@pytest.fixture
def worker():
    """Number of the process whose files every machine has."""
    return WORKER


@pytest.fixture
def nvmap():
    """A Jetson's table of NvMap clients."""
    return NVMAP
