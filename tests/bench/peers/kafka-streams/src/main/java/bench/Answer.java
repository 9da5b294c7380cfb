package bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.avro.Schema;
import org.apache.avro.SchemaBuilder;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** The job, one record at a time: drop what was seen, decode, score, encode. Reuses whatever can be reused. */
final class Answer implements Processor<byte[], byte[], byte[], byte[]> {
    static final String SEEN = "seen";
    static final Schema RESULT = SchemaBuilder.record("Result").namespace("bench").fields()
            .requiredString("request_id").requiredDouble("score").requiredString("model_version")
            .requiredLong("event_time").endRecord();
    private static final byte[] YES = {1};
    private static final byte[] FRAMING = {0, 0, 0, 0, 2};

    private final Model model;
    private final GenericDatumReader<GenericRecord> reader;
    private final GenericDatumWriter<GenericRecord> writer = new GenericDatumWriter<>(RESULT);
    private final GenericRecord result = new GenericData.Record(RESULT);
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(128);
    private final int requestId;
    private final int eventTime;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> seen;
    private GenericRecord request;
    private BinaryDecoder decoder;
    private BinaryEncoder encoder;

    Answer(Model model, Schema requests) {
        this.model = model;
        reader = new GenericDatumReader<>(requests);
        requestId = requests.getField("request_id").pos();
        eventTime = requests.getField("event_time").pos();
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
        context = given;
        seen = given.getStateStore(SEEN);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        if (seen.putIfAbsent(record.key(), YES) != null) {
            return;
        }
        try {
            byte[] value = record.value();
            decoder = DecoderFactory.get().binaryDecoder(value, FRAMING.length, value.length - FRAMING.length, decoder);
            request = reader.read(request, decoder);
            result.put(0, request.get(requestId));
            result.put(1, model.score(request));
            result.put(2, "1");
            result.put(3, request.get(eventTime));
            out.reset();
            out.write(FRAMING, 0, FRAMING.length);
            encoder = EncoderFactory.get().directBinaryEncoder(out, encoder);
            writer.write(result, encoder);
            context.forward(record.withValue(out.toByteArray()));
        } catch (IOException broken) {
            throw new UncheckedIOException(broken);
        }
    }
}
